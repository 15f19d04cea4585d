"""The glossary of docs/architecture.md: it has every term of the project, and no term that nothing uses."""

from __future__ import annotations

import re

from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
GLOSSARY = PAGE.partition("## Glossary\n")[2].partition("\n## ")[0]
ENTRIES = [row for row in re.findall(r"^\| (.+?) \| (.+) \|$", GLOSSARY, re.MULTILINE) if row[0] != "term"]
TERMS = [term for term, _ in ENTRIES]

# What a stranger meets in names, messages and documents, and cannot look up anywhere else.
NEEDED = """
    archive, base, budget, bypass, byte batch, checkpoint, column, context, dense half, directions, embedding config,
    feature, fold, group, hedge, journal, layer, ledger, lookup, manifest, marker, middleware, packet, part, pin, plan, prefix,
    probe, publish, pushback, raw slot, replica, router, row, set aside, shard, sign, signature, slot, snapshot, start
    number, swap, table, time to live, tombstone, topology, turn, version, window
"""


def everything_else() -> str:
    """All that is written and coded, in small letters, with names taken apart into words."""
    folders = ["docs", "persia", "native", "embedding_server", "middleware", "model_server", "handlers", "client"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".md", ".py", ".cpp", ".hpp"}]
    text = "\n".join(path.read_text() for path in files).replace(GLOSSARY, "")
    return re.sub(r"[\s_-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).lower()


def test_every_term_is_in_the_glossary_once_and_in_order() -> None:
    assert set(" ".join(NEEDED.split()).split(", ")) <= set(TERMS)
    assert sorted(set(TERMS), key=str.lower) == TERMS


def test_every_meaning_is_a_sentence() -> None:
    assert [term for term, meaning in ENTRIES if not re.match(r"[A-Z0-9`].*\.$", meaning.replace(")", ""))] == []


def test_every_term_is_used() -> None:
    text = everything_else()
    assert [term for term in TERMS if not re.search(rf"\b{re.escape(term.replace('_', ' '))}", text)] == []


def test_every_picture_is_there_and_has_a_description() -> None:
    pictures = re.findall(r"!\[([^\]]+)\]\((pictures/\w+\.svg)\)", PAGE)
    assert len(pictures) == 4
    assert all((ROOT / "docs" / path).exists() for _, path in pictures)
