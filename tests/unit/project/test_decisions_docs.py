"""docs/decisions: every entry has the same form and a number of its own, the index names them all, and the code is there."""

from __future__ import annotations

import re

from tests.support.places import ROOT

FOLDER = ROOT / "docs" / "decisions"
INDEX = (FOLDER / "README.md").read_text()
PAGES = {path: path.read_text() for path in sorted(FOLDER.glob("*.md")) if path.name != "README.md"}
ENTRIES = {
    (path.name, heading): body
    for path, text in PAGES.items()
    for heading, body in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
}
PARTS = ["Decision", "Why", "Measured", "Code"]


def anchor(heading: str) -> str:
    """As GitHub and the site make it, for headings in which no punctuation stands between two spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_entry_has_a_number_of_its_own_and_four_parts() -> None:
    numbers = [int(re.fullmatch(r"D-(\d+) .+", heading)[1]) for _, heading in ENTRIES]  # type: ignore[index]
    assert min(numbers) == 1 and len(set(numbers)) == len(numbers)
    for place, body in ENTRIES.items():
        assert re.findall(r"^\*\*(\w+)\.\*\* ", body, re.MULTILINE) == PARTS, place


def test_the_index_has_every_entry() -> None:
    expected = {f"{page}#{anchor(heading)}": heading for page, heading in ENTRIES}
    assert not [link for link in expected if "--" in link]
    rows = re.findall(r"^\| (D-\d+) \| \[(.+)\]\((.+?)\) \| (yes)? ?\|$", INDEX, re.MULTILINE)
    assert {link: f"{number} {title}" for number, title, link, _ in rows} == expected
    for page, heading in ENTRIES:
        measured = "**Measured.** Not measured." not in ENTRIES[page, heading]
        assert (f"{page}#{anchor(heading)}) | yes |" in INDEX) == measured, heading


def test_the_code_of_an_entry_is_there() -> None:
    missing = []
    for place, body in ENTRIES.items():
        (code,) = re.findall(r"^\*\*Code\.\*\* (.+)", body, re.MULTILINE)
        paths = re.findall(r"\[`(.+?)`\]\(\.\./\.\./(.+?)\)", code)
        assert paths, place
        missing += [(*place, path) for path, link in paths if path != link or not (ROOT / path).exists()]
    assert missing == []
