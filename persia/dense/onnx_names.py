"""What the names of an ONNX model's inputs say: which tensor each one takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from persia.errors import InvalidInput

__all__ = ["Place", "check_order", "places_of"]

# The list in which a tensor is found, `dense` or `emb`, and where in it.
Place = tuple[str, int]

_NAME = re.compile(r"(dense|emb|embedding|embeddings)(?:[_.]?([0-9]{1,9}))?", re.IGNORECASE)
_HINT = re.compile(r"(?<![a-z])dense|embed|(?<![a-z])embs?(?![a-z])", re.IGNORECASE)
_ADVICE = "name all inputs dense0, dense1, ... and emb0, emb1, ..., as torch.onnx.export does with `input_names`"


def places_of(names: Sequence[str]) -> list[Place] | None:
    """Where each input's tensor is found; None if the names do not say it, so that their order counts.

    A name without a number is the first of its list. Raises InvalidInput for names that contradict each other, or the order.
    """
    matches = [_NAME.fullmatch(name) for name in names]
    places = [(_list_of(match[1]), int(match[2] or 0)) for match in matches if match]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise InvalidInput(
                f"expected ONNX inputs for one tensor each, got two for {place[0]}{place[1]} in {_shown(names)}: {_ADVICE}"
            )
    if len(places) == len(names):
        return places
    hints = [hint for hint in map(_hint, names) if hint]
    if hints != sorted(hints) or places != sorted(places):  # `dense` comes before `emb`
        raise InvalidInput(
            f"expected the ONNX model's dense inputs first, in order, and then its embeddings, got {_shown(names)}: {_ADVICE}"
        )
    return None


def check_order(names: Sequence[str], dense: int) -> None:
    """For names whose order counts. dense: how many dense tensors come first. Raises InvalidInput if a name says otherwise."""
    for i, name in enumerate(names):
        taken = "dense" if i < dense else "emb"
        if _hint(name) not in (None, taken):
            raise InvalidInput(
                f"expected {dense} dense inputs first in the ONNX model, got {_shown(names)}, of which {name!r} would take "
                f"{'a dense tensor' if taken == 'dense' else 'an embedding'}: {_ADVICE}"
            )


def _hint(name: str) -> str | None:
    """The list that a name speaks of; None if it speaks of none, or of both."""
    found = {_list_of(match[0]) for match in _HINT.finditer(name)}
    return found.pop() if len(found) == 1 else None


def _list_of(word: str) -> str:
    return "dense" if word.lower() == "dense" else "emb"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(name[:60] for name in names[:8]) + (", ..." if len(names) > 8 else "")
