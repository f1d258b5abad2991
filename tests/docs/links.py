#!/usr/bin/env python3
"""Finds links that lead nowhere.

    tests/docs/links.py                 in the Markdown files of the checkout, as they are read in a repository browser
    tests/docs/links.py --book DIR      in the pages of the built book

A link within the checkout must name a file that is there, and its anchor a heading of it. Links to other places are not
followed.
"""

import argparse
import html.parser
import pathlib
import re
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchor_of(heading):
    """The anchor that GitHub and mdBook give a heading."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def without_blocks(text):
    return re.sub(r"^\s*```.*?^\s*```\s*$", "", text, flags=re.DOTALL | re.MULTILINE)


def markdown_problems():
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md")]
    files += sorted((ROOT / "docs/src").rglob("*.md")) + sorted((ROOT / "bench").glob("*.md"))
    count, problems = 0, []
    for file in files:
        if not file.is_file():
            continue
        for target in LINK.findall(re.sub(r"`[^`\n]*`", "", without_blocks(file.read_text()))):
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc:
                continue
            count += 1
            path = (file.parent / urllib.parse.unquote(url.path)).resolve() if url.path else file
            place = f"{file.relative_to(ROOT)}: {target}"
            if not path.exists():
                problems.append(f"{place}: there is no such file")
            elif file.is_relative_to(ROOT / "docs/src") and not path.is_relative_to(ROOT / "docs/src"):
                problems.append(f"{place}: leads out of the book, where its readers have no file")
            elif url.fragment and path.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", without_blocks(path.read_text()), re.MULTILINE)
                if url.fragment not in map(anchor_of, headings):
                    problems.append(f"{place}: there is no such heading")
    return count, problems


class Page(html.parser.HTMLParser):
    """Targets and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.update(value for name, value in attributes if name in ("id", "name") and value)
        for name in ("href", "src"):
            if given.get(name):
                self.targets.append(given[name])


def book_problems(folder):
    pages = {path.resolve(): Page(path.read_text()) for path in folder.rglob("*.html")}
    count, problems = 0, []
    for path, page in pages.items():
        if path.name == "404.html":  # Its links are those of a site's root.
            continue
        for target in page.targets:
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc:
                continue
            count += 1
            to = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            if to.is_dir():
                to = to / "index.html"
            place = f"{path.relative_to(folder)}: {target}"
            if not to.exists():
                problems.append(f"{place}: there is no such page")
            elif url.fragment and to in pages and url.fragment not in pages[to].anchors:
                problems.append(f"{place}: there is no such anchor")
    return count, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--book", type=pathlib.Path)
    arguments = parser.parse_args()
    count, problems = book_problems(arguments.book.resolve()) if arguments.book else markdown_problems()
    for problem in problems:
        print(f"links: {problem}", file=sys.stderr)
    if not problems:
        print(f"links: {count} links lead somewhere")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
