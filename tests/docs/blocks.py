#!/usr/bin/env python3
"""Finds the command blocks of README, CONTRIBUTING and docs, and runs them as a reader would.

    tests/docs/blocks.py --check                      every block is marked, every mark can be read
    tests/docs/blocks.py --run embedded [FILE ...]    runs the blocks of the embedded stack, in the order of the files
    tests/docs/blocks.py --run compose [FILE ...]     the same on the compose zones
    tests/docs/blocks.py --list                       all blocks and their marks

A block is a fence with the language bash, sh, shell or console (of console only lines that begin with "$ " are
commands). Right above it stands its mark, an HTML comment that readers do not see:

    <!-- test: embedded -->              runs on the embedded stack, which the runner starts in a folder of its own
    <!-- test: compose -->               runs on the compose zones, where a Docker engine is (see compose-env.sh)
    <!-- test: embedded compose -->      runs on both
    <!-- test: shell -->                 needs no stack; runs with `--run embedded`
    <!-- test: make -->                  a target that CI runs by itself; not run here
    <!-- test: no, because REASON -->    cannot be run; the reason is for whoever comes next

Options follow after commas: expect="REGEX" must be found in the output; exit=N is the exit code to expect; timeout=N
seconds at most; until="TEXT" ends the block (as Ctrl-C does) once it printed TEXT; keep, with until, lets it run on to
the end of the run, as in a terminal of its own; retry=N tries the block again for N seconds, as a reader does who asks
for something that is still on its way.

Blocks run in `bash -euo pipefail` with the checkout as working directory; what one exports the next ones have, as in one
terminal. A block with `-it` gets a pseudo-terminal. Nothing is rewritten, so ports are the literal ones of the page. So
that they are free whatever else is up, the embedded stack runs in a network of its own where the system allows that.
"""

import argparse
import ctypes
import dataclasses
import fcntl
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("embedded", "compose", "shell", "make")
LANGUAGES = ("bash", "sh", "shell", "console")
OPTIONS = ("expect", "exit", "timeout", "until", "keep", "retry")
RETRY_PAUSE_SECONDS = 2
TIMEOUT_SECONDS = {"embedded": 180, "shell": 60, "compose": 600}
TAIL_LINES = 25

FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
MARK = re.compile(r"^\s*<!--\s*test:\s*(?P<text>.*?)\s*-->\s*$")
OPTION = re.compile(r'^\s*(?P<name>\w+)(?:=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+)))?\s*(?:,|$)')


class MarkError(Exception):
    """A mark that cannot be read; the text says why."""


@dataclasses.dataclass
class Block:
    """A command block with its mark."""

    file: str
    line: int
    text: str
    kinds: tuple[str, ...] = ()
    reason: str = ""
    options: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def place(self):
        return f"{self.file}:{self.line}"


def parse_mark(text):
    """Kinds, reason and options of a mark's text."""
    head, _, rest = text.partition(",")
    kinds = tuple(head.split())
    if kinds == ("no",):
        reason = rest.strip().removeprefix("because").strip()
        if not rest.strip().startswith("because") or len(reason) < 8:
            raise MarkError("'no' needs a reason: <!-- test: no, because … -->")
        return (), reason, {}
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise MarkError(f"'{head}' is none of {', '.join(KINDS)}, no")
    options = {}
    while rest.strip():
        found = OPTION.match(rest)
        if not found or found["name"] not in OPTIONS:
            raise MarkError(f"'{rest.strip()}' is no option; there are: {', '.join(OPTIONS)}")
        value = found["quoted"] if found["quoted"] is not None else found["plain"] or ""
        options[found["name"]] = value.replace('\\"', '"')
        rest = rest[found.end() :]
    if "keep" in options and "until" not in options:
        raise MarkError("'keep' goes with until=\"…\"")
    if "expect" in options:
        re.compile(options["expect"])
    return kinds, "", options


def commands(language, lines):
    """The text to run. Of a console block only the lines behind a prompt."""
    if language != "console":
        return "\n".join(lines)
    return "\n".join(line[2:] for line in lines if line.startswith("$ "))


def read_blocks(path, name):
    """Blocks of a Markdown file and what is wrong with their marks."""
    blocks, errors = [], []
    mark = None  # (line, text) of a mark that waits for its block
    fence = None  # the open fence: match, line, its lines, the mark above it
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if fence:
            opening, start, content, above = fence
            closing = line.strip()
            if closing and set(closing) == {opening["ticks"][0]} and len(closing) >= len(opening["ticks"]):
                fence = None
                finish(blocks, errors, name, opening, start, content, above)
            else:
                content.append(line.removeprefix(opening["indent"]))
            continue
        found = MARK.match(line)
        opening = FENCE.match(line)
        if found:
            if mark:
                errors.append(f"{name}:{mark[0]}: a mark without a block below it")
            mark = (number, found["text"])
        elif opening:
            fence, mark = (opening, number, [], mark), None
        elif line.strip() and mark:
            errors.append(f"{name}:{mark[0]}: a mark without a block below it")
            mark = None
    if mark:
        errors.append(f"{name}:{mark[0]}: a mark without a block below it")
    return blocks, errors


def finish(blocks, errors, name, opening, start, content, above):
    """Takes a closed fence in, if it is a command block."""
    words = opening["info"].split()
    language = words[0].strip("{},") if words else ""
    if language not in LANGUAGES:
        if above:
            errors.append(f"{name}:{start}: a mark above a block that is no command block")
        if not language and content and content[0].startswith("$ "):
            errors.append(f"{name}:{start}: commands without a language; say ```console")
        return
    block = Block(name, start, commands(language, content))
    if above is None:
        errors.append(f"{name}:{start}: an unmarked command block; say how it is tested: <!-- test: … -->")
        return
    try:
        block.kinds, block.reason, block.options = parse_mark(above[1])
    except (MarkError, re.error) as error:
        errors.append(f"{name}:{above[0]}: {error}")
        return
    blocks.append(block)


def all_files():
    """README first, since a reader begins there; then CONTRIBUTING; then the book in its own order."""
    files = [name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).is_file()]
    source = ROOT / "docs/src"
    summary = (source / "SUMMARY.md").read_text() if (source / "SUMMARY.md").is_file() else ""
    chapters = [f"docs/src/{page}" for page in re.findall(r"\(([^)#]+\.md)\)", summary)]
    others = sorted(str(page.relative_to(ROOT)) for page in source.rglob("*.md"))
    return files + list(dict.fromkeys(chapters + others))


class Runner:
    """Runs blocks in one mode."""

    def __init__(self, mode, bin_dir):
        self.mode = mode
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="haus-docs-"))
        self.saved = self.dir / "exports"
        self.kept = []
        self.up = False
        self.env = dict(os.environ)
        self.env["PAGER"] = "cat"
        if mode == "embedded":
            self.env["HAUS_DIR"] = str(self.dir / "haus")
            # At the end, so that the README's own line about the path is what counts when it was run.
            self.env["PATH"] += f":{bin_dir}"
        self.haus = bin_dir / "haus"

    def prelude(self):
        """What stands before a block: the exports of the blocks before, and for compose the engine's settings."""
        # The exports tell the folder of the block before, too: each begins in the checkout.
        lines = [f'[ ! -f "{self.saved}" ] || . "{self.saved}"', f'cd "{ROOT}"']
        hook = ROOT / "tests/docs/compose-env.sh"
        if self.mode == "compose" and hook.is_file():
            lines.append(f'. "{hook}"')
        lines.append("trap 'echo \"*** failed ($?): $BASH_COMMAND\" >&2' ERR")
        lines.append(f"trap '[ $? != 0 ] || export -p >\"{self.saved}\"' EXIT")
        return "\n".join(lines) + "\n"

    def start_stack(self):
        """The embedded stack with a small shop in it, for pages that take both for granted."""
        print("starting the embedded stack, with a shop of 200 customers", flush=True)
        for args in ("up", "seed --count 200"):
            subprocess.run([self.haus, *args.split()], cwd=ROOT, env=self.env, check=True, stdout=subprocess.DEVNULL)
        self.up = True
        wait = Block("the stack", 0, "haus verify", ("embedded",), options={"retry": "60"})
        wrong, text = self.run(wait)
        if wrong:
            sys.exit(f"blocks: the stack is not what the pages take for granted: {wrong}\n{text}")

    def run(self, block):
        """Runs a block, again while it may be tried again. Returns what is wrong, or None, and the output."""
        deadline = time.monotonic() + int(block.options.get("retry", 0))
        while True:
            wrong, text = self.run_once(block)
            if wrong is None or time.monotonic() > deadline:
                return wrong, text
            time.sleep(RETRY_PAUSE_SECONDS)

    def run_once(self, block):
        """Runs a block once. Returns what is wrong, or None, and the output."""
        kind = "shell" if block.kinds == ("shell",) else self.mode
        if kind == "embedded" and not self.up and not re.search(r"\bhaus up\b", block.text):
            self.start_stack()
        output = self.dir / f"output-{time.monotonic_ns()}"
        process, reader = self.spawn(block, output)
        timeout = int(block.options.get("timeout", TIMEOUT_SECONDS[kind]))
        wrong = self.follow(block, process, output, timeout)
        if "keep" in block.options and wrong is None:
            self.kept.append((block, process))
        elif reader:
            reader.join(5)
        text = output.read_text(errors="replace")
        if wrong is None and "expect" in block.options:
            if not re.search(block.options["expect"], text, re.MULTILINE):
                wrong = f"the output lacks /{block.options['expect']}/"
        if re.search(r"\bhaus up\b", block.text):
            self.up = True
        if re.search(r"\bhaus down\b", block.text):
            self.up = False
        return wrong, text

    def spawn(self, block, output):
        """Starts the block as a process group of its own; on a pseudo-terminal if it asks for one."""
        command = ["bash", "-euo", "pipefail", "-c", self.prelude() + block.text]
        if not re.search(r"(^|\s)-(it|ti)(\s|$)", block.text):
            with output.open("wb") as out:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True,
                )
            return process, None
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        output.touch()
        reader = threading.Thread(target=copy_terminal, args=(master, output), daemon=True)
        reader.start()
        return process, reader

    def follow(self, block, process, output, timeout):
        """Waits for the block's end, or for its text. Returns what is wrong, or None."""
        until = block.options.get("until")
        expected = int(block.options.get("exit", 0))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if until and until in output.read_text(errors="replace"):
                if "keep" not in block.options:
                    end(process)
                return None
            code = process.poll()
            if code is not None:
                if until:
                    return f"ended with {code} before it printed '{until}'"
                return None if code == expected else f"exit code {code}, expected {expected}"
            time.sleep(0.02)
        end(process)
        return f"not done after {timeout} s" + (f": it did not print '{until}'" if until else "")

    def close(self):
        """Ends what still runs and forgets the folder."""
        for block, process in reversed(self.kept):
            print(f"ending {block.place}", flush=True)
            end(process, patience=90)
        if self.mode == "embedded" and (self.dir / "haus/state.json").is_file():
            subprocess.run([self.haus, "down"], cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def copy_terminal(master, output):
    with output.open("ab", buffering=0) as out:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux' way to say that the other side is closed.
                data = b""
            if not data:
                os.close(master)
                return
            out.write(data)


def end(process, patience=20):
    """Ends a block's process group: first as Ctrl-C does, then harder."""
    for number, wait in ((signal.SIGINT, patience), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(wait)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def own_network():
    """Moves this process, and all it starts, into a network that has nothing but loopback. False where it may not."""
    new_user, new_net = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None).unshare(new_net if user == 0 else new_net | new_user) != 0:
        return False
    if user != 0:
        pathlib.Path("/proc/self/setgroups").write_text("deny")
        pathlib.Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        pathlib.Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up_and_running = 0x1 | 0x40  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", up_and_running))  # SIOCSIFFLAGS
    return True


def ports_in_use():
    """Ports of the stack that somebody listens on."""
    text = (ROOT / ".env").read_text()
    names = ("POSTGRES_PORT", "SEEDER_PORT", "KAFKA_CONTROLLER_PORT", "REGISTRY_PORT", "CDC_RELAY_PORT",
             "S3_SINK_PORT", "S3_PORT", "CATALOG_PORT", "LAKE_PORT", "LAKE_SQL_PORT")
    ports = [int(port) for name in names for port in re.findall(rf"^{name}=(\d+)", text, re.MULTILINE)]
    ports += [int(port) for port in re.findall(r"^KAFKA_BOOTSTRAP_SERVERS=\S+?:(\d+)", text, re.MULTILINE)]
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(port)
    return sorted(set(taken))


def run_all(mode, blocks, bin_dir):
    """Runs the blocks of a mode. Returns the number of failures."""
    chosen = [block for block in blocks if mode in block.kinds or (mode == "embedded" and "shell" in block.kinds)]
    if mode == "embedded" and chosen:
        if not (bin_dir / "haus").is_file():
            sys.exit(f"blocks: no haus in {bin_dir}; build it (make build) or say where it is (--bin)")
        if own_network():
            print("blocks: in a network of its own", flush=True)
        elif taken := ports_in_use():
            sys.exit(f"blocks: the pages name literal ports, and these are taken: {', '.join(map(str, taken))}; "
                     "stop what holds them (make down)")
    runner = Runner(mode, bin_dir)
    passed = failed = 0
    try:
        for block in chosen:
            first, *more = [line for line in block.text.splitlines() if line.strip()] or [""]
            print(f"{block.place}  {first}" + "".join(f"\n    {line}" for line in more), flush=True)
            begin = time.monotonic()
            wrong, text = runner.run(block)
            print(f"    -> {wrong or 'ok'} ({time.monotonic() - begin:.1f} s)", flush=True)
            if wrong:
                failed += 1
                print("".join(f"    | {line}\n" for line in text.splitlines()[-TAIL_LINES:]), end="", flush=True)
            else:
                passed += 1
    finally:
        runner.close()
    print(f"{passed} passed, {failed} failed")
    return failed + (passed == 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true")
    action.add_argument("--list", action="store_true")
    action.add_argument("--run", choices=("embedded", "compose"))
    cache = os.environ.get("HAUS_CACHE") or os.path.expanduser("~/.cache/haus-am-see")
    target = os.environ.get("CARGO_TARGET_DIR") or f"{cache}/target"
    built = pathlib.Path(target) / "debug"
    parser.add_argument("--bin", type=pathlib.Path, default=built, help="folder of our binaries")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    blocks, errors = [], []
    for name in arguments.files or all_files():
        found, wrong = read_blocks(ROOT / name, name)
        blocks += found
        errors += wrong
    for error in errors:
        print(error, file=sys.stderr)
    if errors:
        return 1
    if arguments.list:
        for block in blocks:
            print(f"{block.place}\t{' '.join(block.kinds) or 'no, because ' + block.reason}")
    if arguments.check:
        print(f"blocks: {len(blocks)} command blocks, all marked")
    return run_all(arguments.run, blocks, arguments.bin.resolve()) if arguments.run else 0


if __name__ == "__main__":
    sys.exit(main() and 1)
