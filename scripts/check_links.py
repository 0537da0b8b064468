#!/usr/bin/env python3
"""Check the internal links of the documentation: files, anchors, included files, and the guide's table of contents.

    scripts/check_links.py                     # every Markdown file of the repository
    scripts/check_links.py --book target/book  # the pages that mdBook has built as well

A file of the repository that a page names in `code`, such as `schemas/openapi.json`, has to exist as well; `*` stands for any name.

Python's standard library is all it needs. It opens no connection: links to other sites are not checked. Each fault is one line,
`FILE:LINE: what is wrong`. Exit codes: 0 every link leads somewhere, 1 some do not, 2 it could not run.
"""

from __future__ import annotations

import argparse
import html.parser
import pathlib
import re
import subprocess
import sys
import tempfile
import unicodedata
import urllib.parse
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
SKIPPED = {".git", ".venv", ".warmline", "node_modules", "target"}

FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")
CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
INCLUDE = re.compile(r"\{\{#(?:include|rustdoc_include|playground)\s+([^}\s:]+)[^}]*\}\}")
# An image inside a link, `[![…](a)](b)`, matches twice: once inside and once around.
INLINE = re.compile(r"\]\(\s*(?:<([^>]*)>|([^()\s]*(?:\([^()]*\)[^()\s]*)*))(?:\s+[\"'(][^\n]*?[\"')])?\s*\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]^][^\]]*\]:\s*(\S+)")
ATTRIBUTE = re.compile(r"<(?:a|img)\s[^>]*?(?:href|src)=[\"']([^\"']+)[\"']", re.IGNORECASE)
ANCHOR = re.compile(r"<[a-z]+\s[^>]*?(?:id|name)=[\"']([^\"']+)[\"']", re.IGNORECASE)
MENTION = re.compile(r"(?<!`)`((?:crates|src|tests|models|examples|fixtures|schemas|scripts|docs|console-ui|benches|fuzz)/[\w./*-]*)`")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)(?:\s+#+)?\s*$")


def markdown_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The Markdown files under `root`: those git knows or would add, or all of them where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard", "*.md"], capture_output=True, check=True
        ).stdout.decode()
        found = [root / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in root.rglob("*.md") if not SKIPPED & set(path.relative_to(root).parts)]
    return sorted(path for path in set(found) if path.is_file())


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a Markdown text with their code spans blanked, without fenced blocks."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and line.strip() == mark[1]:
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            yield number, CODE_SPAN.sub(lambda span: " " * len(span[0]), line)


def slug(heading: str) -> str:
    """The anchor that GitHub and mdBook give a heading: lower case, spaces to hyphens, no punctuation."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<[^>]+>", "", text).strip().lower()
    kept = (c if unicodedata.category(c)[0] in "LN" or c in "-_" else "-" if c.isspace() else "" for c in text)
    return "".join(kept)


def anchors(text: str) -> set[str]:
    """Every anchor of a Markdown text. Headings are read with their code spans."""
    lines = text.splitlines()
    found: set[str] = set()
    seen: dict[str, int] = {}
    for number, line in prose(text):
        found.update(ANCHOR.findall(line))
        if heading := HEADING.match(lines[number - 1]):
            name = slug(CODE_SPAN.sub(lambda span: re.sub("[`<>]", "", span[0]), heading[1]))
            times = seen.get(name, 0)
            seen[name] = times + 1
            found.add(f"{name}-{times}" if times else name)
    return found


def links(text: str) -> Iterator[tuple[int, str]]:
    """Every link of a Markdown text with its line."""
    for number, line in prose(text):
        for target in INLINE.findall(line):
            yield number, target[0] or target[1]
        for pattern in (DEFINITION, ATTRIBUTE):
            for target in pattern.findall(line):
                yield number, target


class Markdown:
    """The Markdown files of a repository and the guide among them."""

    def __init__(self, root: pathlib.Path, guide: pathlib.Path) -> None:
        self.root = root
        self.guide = guide
        self.files = markdown_files(root)
        self.count = 0
        self._anchors: dict[pathlib.Path, set[str]] = {}

    def text(self, path: pathlib.Path) -> str:
        """A page as mdBook reads it: included Markdown stands in place of its directive, on one line's number."""
        def included(directive: re.Match[str]) -> str:
            source = (path.parent / directive[1]).resolve()
            is_page = source.suffix == ".md" and source.is_file()
            return source.read_text(encoding="utf-8") if is_page else directive[0]

        return INCLUDE.sub(included, path.read_text(encoding="utf-8"))

    def anchors(self, path: pathlib.Path) -> set[str]:
        """The anchors of a page."""
        if path not in self._anchors:
            self._anchors[path] = anchors(self.text(path))
        return self._anchors[path]

    def faults(self) -> Iterator[str]:
        """Every fault."""
        for path in self.files:
            name = path.relative_to(self.root)
            raw = path.read_text(encoding="utf-8")
            for number, line in enumerate(raw.splitlines(), 1):
                for target in INCLUDE.findall(line):
                    self.count += 1
                    if not (path.parent / target).is_file():
                        yield f"{name}:{number}: includes {target}, which does not exist"
                for target in MENTION.findall(line):
                    self.count += 1
                    if not any(self.root.glob(target.rstrip("/"))):
                        yield f"{name}:{number}: names {target}, which does not exist"
            text = self.text(path)
            for number, target in links(text):
                if fault := self.fault(path, target):
                    # Lines of a page that includes another are those of the joined text: name the link alone.
                    yield f"{name}:{number}: {fault}" if text == raw else f"{name}: {fault}"
        if self.guide.is_dir():
            yield from self.contents()

    def fault(self, path: pathlib.Path, link: str) -> str | None:
        """What is wrong with a link of a page."""
        parts = urllib.parse.urlsplit(link)
        if parts.scheme or parts.netloc:
            return None
        self.count += 1
        if parts.path.startswith("/"):
            return f"{link}: begins with /, which leads elsewhere on every host"
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            return f"{link}: no such file"
        in_guide = path.is_relative_to(self.guide)
        if in_guide and not target.is_relative_to(self.guide):
            return f"{link}: leaves the guide, so the built page cannot reach it"
        if in_guide and target.is_dir():
            return f"{link}: a folder, which the built guide has no page for"
        if parts.fragment and target.suffix == ".md":
            anchor = urllib.parse.unquote(parts.fragment)
            if anchor not in self.anchors(target):
                return f"{link}: no heading of {target.name} has the anchor #{anchor}"
        return None

    def contents(self) -> Iterator[str]:
        """Pages of the guide that its table of contents does not list, or lists twice."""
        summary = self.guide / "SUMMARY.md"
        if not summary.is_file():
            yield f"{summary.relative_to(self.root)}: missing"
            return
        listed = [(self.guide / target).resolve() for _, target in links(self.text(summary)) if target]
        for page in sorted({page for page in listed if listed.count(page) > 1}):
            yield f"{summary.relative_to(self.root)}: {page.relative_to(self.guide)} is listed twice"
        for page in self.files:
            if page.is_relative_to(self.guide) and page != summary and page not in listed:
                yield f"{page.relative_to(self.root)}: SUMMARY.md does not list it"


class Page(html.parser.HTMLParser):
    """What a built page links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[int, str]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "id" or (name == "name" and tag == "a")):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append((self.getpos()[0], value))


def book_faults(book: pathlib.Path) -> tuple[int, list[str]]:
    """How many links the built pages have, and what is wrong with them."""
    # toc.html is a fragment of every page; 404.html stands under an address of its own.
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(book.rglob("*.html"))
        if path.name not in ("404.html", "toc.html")
    }
    count, faults = 0, []
    for path, page in pages.items():
        for number, link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.is_file():
                faults.append(f"{path.relative_to(book.resolve())}:{number}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                faults.append(f"{path.relative_to(book.resolve())}:{number}: {link}: no such anchor")
    return count, faults


def self_test() -> None:
    """Each kind of fault is found, and what is sound is not called one."""
    sound = "# A `b` c\n## Twice\n## Twice\n[x](#a-b-c) [y](b.md#over-there) ![z](b.md) [w](https://example.com/#x) `[no](gone.md)`\n"
    sound += "[t](#twice-1)\n```\n[no](gone.md)\n```\n[d]: b.md\n"
    sound += "`docs/src/*.md` `target/x`\n"
    broken = "`docs/gone.md`\n[a](gone.md)\n[b](b.md#nowhere)\n[c](../out.md)\n<a href='gone.html'>\n{{#include gone.toml}}\n[![i](b.md)](gone2.md)\n"
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder).resolve()
        guide = root / "docs" / "src"
        guide.mkdir(parents=True)
        (root / "docs" / "out.md").write_text("out\n")
        (guide / "SUMMARY.md").write_text("[A](a.md)\n[B](b.md)\n")
        (guide / "a.md").write_text(sound)
        (guide / "b.md").write_text("# Over *there*\n")
        assert list(Markdown(root, guide).faults()) == [], list(Markdown(root, guide).faults())
        (guide / "c.md").write_text(broken)
        found = list(Markdown(root, guide).faults())
        for part in ("names docs/gone.md", "gone.md: no", "#nowhere", "out.md: leaves", "gone.html: no", "gone.toml", "gone2.md: no", "does not list"):
            assert sum(part in fault for fault in found) == 1, (part, found)
        assert len(found) == 8, found


def main() -> int:
    """Check, and say what is wrong."""
    parser = argparse.ArgumentParser(description="Check the internal links of the documentation.")
    parser.add_argument("--book", type=pathlib.Path, metavar="DIR", help="the built guide, checked as well")
    parser.add_argument("--self-test", action="store_true", help="try the checker itself")
    arguments = parser.parse_args()
    if arguments.self_test:
        self_test()
        print("check_links: the checker finds what it should")
        return 0
    markdown = Markdown(ROOT, ROOT / "docs" / "src")
    faults = list(markdown.faults())
    said = f"{markdown.count} links in {len(markdown.files)} Markdown files"
    if arguments.book:
        if not arguments.book.is_dir():
            print(f"check_links: {arguments.book}: no such folder: build the guide first (make docs)", file=sys.stderr)
            return 2
        count, found = book_faults(arguments.book)
        faults += found
        said += f", {count} in the built guide"
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    print(f"check_links: {said}: {len(faults)} lead nowhere" if faults else f"check_links: {said}: all lead somewhere")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
