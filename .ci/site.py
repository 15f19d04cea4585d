"""Copies the documents to build/docs/source, from which the site is built: `make docs`.

The README becomes the first page and the changelog the last one. A link that leads out of the documents, to code that the site
does not have, becomes plain text. A link to a file that is not there ends this with an error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "build" / "docs" / "source"
PAGES = {ROOT / "README.md": Path("index.md"), ROOT / "CHANGELOG.md": Path("changelog.md")}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^( *```.*?^ *```)$", re.MULTILINE | re.DOTALL)


def page_of(path: Path) -> Path:
    """Where a document is on the site, relative to its root."""
    return PAGES.get(path) or path.relative_to(DOCS)


def on_the_site(path: Path, text: str, broken: list[str]) -> str:
    """The text of a document, with links as the site has them. Links to nothing are added to `broken`."""

    def replaced(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        if target.startswith(("http:", "https:", "#", "mailto:")):
            return match[0]
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve()
        if file.is_dir() and (file / "README.md").exists():
            file /= "README.md"
        if not file.exists():
            broken.append(f"{path.relative_to(ROOT)}: {target} is not there")
        if file not in PAGES and not file.is_relative_to(DOCS):
            return label
        link = os.path.relpath(page_of(file), page_of(path).parent)
        return f"{mark}[{label}]({link}{'#' if fragment else ''}{fragment})"

    return "".join(part if part.lstrip().startswith("```") else LINK.sub(replaced, part) for part in FENCE.split(text))


def main() -> int:
    """Copies all documents. 1 if a link leads to nothing."""
    broken: list[str] = []
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(DOCS, SOURCE)
    for path in [*PAGES, *sorted(DOCS.rglob("*.md"))]:
        (SOURCE / page_of(path)).write_text(on_the_site(path, path.read_text(), broken))
    print(*broken, sep="\n", end="\n" if broken else "", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
