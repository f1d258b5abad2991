#!/usr/bin/env python3
"""Runs the notebooks of scripts/ against a running stack, or checks how they are kept.

    run.py [--out FOLDER] [NAME ...]    executes each notebook top to bottom, as a copy, which FOLDER keeps
    run.py --check [NAME ...]           refuses outputs, execution counts and machine-specific metadata
    run.py --strip [NAME ...]           brings notebooks into the form that --check wants

NAME: the beginning of a notebook's name; all when none is given. Which stack: the settings of .env, as everywhere.
Executing needs the environment that tests/notebooks/setup.sh makes; --check and --strip only Python.
The last line is `N passed, M failed`; exit code 1 when any failed or none was there.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# Longer than the longest wait inside a cell, which says what is missing.
CELL_SECONDS = 400
KERNEL_START_SECONDS = 180
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def stripped(text: str) -> str:
    """The notebook as it is kept: as Jupyter writes it, without what a run leaves in it."""
    notebook = json.loads(text)
    notebook["metadata"] = METADATA
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def check(path: Path) -> None:
    text = path.read_text()
    if text != stripped(text):
        raise ValueError(f"{path.name} holds outputs or metadata of a run: tests/notebooks/run.py --strip")


def strip(path: Path) -> None:
    path.write_text(stripped(path.read_text()))


def execute(path: Path, out: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(SCRIPTS)}},
        # A fresh environment has no byte code yet.
        startup_timeout=KERNEL_START_SECONDS,
    )
    number = None

    def begin(cell: dict, cell_index: int) -> None:
        nonlocal number
        number = cell_index

    client.on_cell_start = begin
    try:
        client.execute()
    except Exception as error:
        # Of a failed cell: its source and traceback, with a terminal's colours.
        message = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        raise RuntimeError(f"{path.name}, cell {number}:\n{message}") from None
    finally:
        nbformat.write(notebook, out / path.name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--strip", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()

    scratch = tempfile.TemporaryDirectory(prefix="notebooks-")
    # Nothing of the person's own set-up comes in, and nothing is left in it.
    os.environ |= {
        name: f"{scratch.name}/{name}" for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")
    }
    out = asked.out or Path(scratch.name) / "copies"
    out.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    for path in sorted(SCRIPTS.glob("*.ipynb")):
        if asked.names and not any(path.name.startswith(name) for name in asked.names):
            continue
        begun = time.monotonic()
        try:
            if asked.strip:
                strip(path)
            elif asked.check:
                check(path)
            else:
                execute(path, out)
            passed += 1
            print(f"{path.name}: ok ({time.monotonic() - begun:.1f} s)", flush=True)
        except Exception as error:
            failed += 1
            print(f"{path.name}: FAILED ({time.monotonic() - begun:.1f} s)\n{error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
