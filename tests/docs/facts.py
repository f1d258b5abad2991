#!/usr/bin/env python3
"""Compares what the book says about each service with the service itself.

    tests/docs/facts.py --check [--bin DIR]     a difference is an error
    tests/docs/facts.py --write [--bin DIR]     writes the settings tables anew

Settings: a table between `<!-- settings: PROGRAM [SUBCOMMAND] -->` and `<!-- end -->` is what the program's `--help`
says, in the order it says it. Where `.env` has the variable too, its value must be the program's default.
Metrics: a page with `<!-- metrics: CRATE … -->` names every metric of these crates, and no other.
Properties of the connectors have pages that tests of their crates make and compare (`cdc-relay`, `s3-sink`).
Dashboards: every metric that a query in `grafana/*.json` names is one of ours.
Endpoints: a page with `<!-- endpoints: CRATE -->` names every route of the crate's router.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOK = ROOT / "docs/src"
SETTINGS = re.compile(r"(<!-- settings: (?P<command>[a-z0-9 -]+?) -->\n)(?P<table>.*?)(<!-- end -->)", re.DOTALL)
METRIC = re.compile(r'(?:(?:counter|gauge|histogram)!\(|\bsample\(\s*(?:&mut )?out,)\s*"([A-Za-z0-9_]+)"')
# Names that people know from the originals, beside those that begin with the crate's.
KNOWN_NAMES = {"connect": "kafka_connect_", "cdc-relay": "debezium_metrics_"}
ROUTE = re.compile(r'\.route\(\s*"([^"]+)"')
# Functions of the query language that look like metrics.
PROMQL = {"histogram_quantile"}
# Options that the program describes by their name alone.
MEANINGS = {
    "--port": "Port to listen on.",
    "--postgres-host": "Host of Postgres.",
    "--postgres-port": "Port of Postgres.",
    "--postgres-user": "User of Postgres.",
    "--postgres-password": "Its password.",
    "--storefront-db": "Database of the storefront.",
    "--bootstrap": "Kafka brokers, `host:port` separated by commas.",
    "--registry-url": "Schema registry.",
    "--topics": "Topics of the tables to verify, separated by commas.",
    "--s3-endpoint": "S3 endpoint.",
    "--s3-region": "S3 region.",
    "--access-key-id": "S3 access key.",
    "--secret-access-key": "S3 secret key.",
    "--raw-bucket": "Bucket of the landing zone.",
    "--lakehouse-bucket": "Bucket of the Iceberg tables.",
    "--lake-url": "The lake's HTTP interface.",
}


def options(command, bin_dir):
    """(flag, variable, default, meaning) of every option of a program that a variable sets."""
    program, *rest = command.split()
    environment = {"PATH": os.environ["PATH"], "HAUS_ENV_FILE": "/dev/null"}
    run = subprocess.run(
        [bin_dir / program, *rest, "--help"], env=environment, capture_output=True, text=True, check=True
    )
    found = []
    for entry in re.split(r"\n(?=\s+(?:-\w, )?--)", run.stdout):
        flag = re.match(r"\s+(?:-\w, )?(--[a-z0-9-]+)", entry)
        variable = re.search(r"\[env: ([A-Z0-9_]+)", entry)
        if not flag or not variable:
            continue
        default = re.search(r"\[default: (.*?)\]", entry, re.DOTALL)
        text = re.sub(r"^\s+(?:-\w, )?--[a-z0-9-]+(?: <\w+>)?", "", entry)
        meaning = " ".join(re.sub(r"\[(?:env|default|possible values): .*?\]", "", text, flags=re.DOTALL).split())
        found.append((flag[1], variable[1], default[1] if default else "", meaning or MEANINGS.get(flag[1], "")))
    return found


def table(rows):
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for _, variable, default, meaning in rows:
        shown = f"`{default}`" if default else "-"
        ending = "" if not meaning or meaning.endswith((".", "?")) else "."
        lines.append(f"| `{variable}` | {shown} | {meaning.replace('|', chr(92) + '|')}{ending} |")
    return "\n".join(lines) + "\n"


def dotenv():
    text = (ROOT / ".env").read_text()
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def sources(crate):
    for path in sorted((ROOT / "crates" / crate / "src").rglob("*.rs")):
        yield path.read_text()


def check_settings(page, bin_dir, write, problems):
    text = page.read_text()

    def compare(found):
        rows = options(found["command"], bin_dir)
        for _, variable, default, meaning in rows:
            if not meaning:
                problems.append(f"{found['command']}: {variable} has no meaning; write its doc comment")
            known = dotenv().get(variable)
            if default and known is not None and known != default:
                problems.append(f"{found['command']}: {variable} is {known} in .env and {default} by default")
        fresh = table(rows)
        if fresh != found["table"] and not write:
            problems.append(
                f"{page.relative_to(ROOT)}: the settings of {found['command']} differ from its --help; "
                "run tests/docs/facts.py --write"
            )
        return found[1] + fresh + found[4]

    fresh = SETTINGS.sub(compare, text)
    if write and fresh != text:
        page.write_text(fresh)
        print(f"facts: wrote {page.relative_to(ROOT)}")
    return len(SETTINGS.findall(text))


def check_metrics(page, problems):
    text = page.read_text()
    found = re.search(r"<!-- metrics: ([a-z0-9 -]+?) -->", text)
    if not found:
        return 0
    crates = found[1].split()
    real = {name for crate in crates for source in sources(crate) for name in METRIC.findall(source)}
    prefixes = tuple(crate.replace("-", "_") + "_" for crate in crates)
    prefixes += tuple(KNOWN_NAMES[crate] for crate in crates if crate in KNOWN_NAMES)
    section = text[found.end() :].split("\n## ")[0]
    named = {name for name in re.findall(r"`([A-Za-z0-9_]+)`", section) if name.startswith(prefixes)}
    for name in sorted(real - named):
        problems.append(f"{page.relative_to(ROOT)}: the metric {name} is missing")
    for name in sorted(named - real):
        problems.append(f"{page.relative_to(ROOT)}: there is no metric {name}")
    return len(real)


def check_dashboard(path, problems):
    """Every metric that a dashboard's queries name is one of ours."""
    real = {name for crate in (ROOT / "crates").iterdir() for source in sources(crate.name) for name in METRIC.findall(source)}
    # What Prometheus makes of a histogram.
    real |= {name + suffix for name in real for suffix in ("_sum", "_count")}
    panels = json.loads(path.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    if not queries:
        problems.append(f"{path.relative_to(ROOT)}: no queries")
    for query in queries:
        without_labels = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)", " ", query)
        for name in re.findall(r"\b[A-Za-z][A-Za-z0-9]*_\w+", without_labels):
            if name not in real and name not in PROMQL:
                problems.append(f"{path.relative_to(ROOT)}: there is no metric {name}")
    return len(queries)


def check_endpoints(page, problems):
    text = page.read_text()
    found = re.search(r"<!-- endpoints: ([a-z0-9-]+) -->", text)
    if not found:
        return 0
    routes = {route for source in sources(found[1]) for route in ROUTE.findall(source)}
    for route in sorted(routes):
        if f"`{route}`" not in text and f" {route}`" not in text:
            problems.append(f"{page.relative_to(ROOT)}: the endpoint {route} is missing")
    return len(routes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true")
    action.add_argument("--write", action="store_true")
    cache = os.environ.get("HAUS_CACHE") or os.path.expanduser("~/.cache/haus-am-see")
    target = os.environ.get("CARGO_TARGET_DIR") or f"{cache}/target"
    built = pathlib.Path(target) / "debug"
    parser.add_argument("--bin", type=pathlib.Path, default=built, help="folder of our binaries")
    arguments = parser.parse_args()
    if not (arguments.bin / "haus").is_file():
        sys.exit(f"facts: no haus in {arguments.bin}; build it (make build) or say where it is (--bin)")
    problems, tables, metrics, endpoints = [], 0, 0, 0
    for page in sorted(BOOK.rglob("*.md")):
        tables += check_settings(page, arguments.bin.resolve(), arguments.write, problems)
        metrics += check_metrics(page, problems)
        endpoints += check_endpoints(page, problems)
    queries = sum(check_dashboard(path, problems) for path in sorted(BOOK.rglob("grafana/*.json")))
    for problem in problems:
        print(f"facts: {problem}", file=sys.stderr)
    if not problems:
        print(
            f"facts: {tables} settings tables, {metrics} metrics, {endpoints} endpoints and "
            f"{queries} queries of dashboards are as the programs have them"
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
