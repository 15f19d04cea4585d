"""The tokens of a text, and how too many of them are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Tokens", "shortened"]

T = TypeVar("T")


@dataclass(frozen=True)
class Tokens:
    """A text as the model takes it, special tokens included.

    type_ids: 0 for the first text of a pair, 1 for the second. offsets: the characters of its text that a token stands for.
    sequences: which of a pair's texts a token is of; None for a special token. left_out: how many tokens were cut off.
    """

    ids: list[int]
    type_ids: list[int]
    words: list[str]
    offsets: list[tuple[int, int]]
    sequences: list[int | None]
    left_out: int

    @property
    def key(self) -> bytes:
        """Equal for texts that the model cannot tell apart."""
        return repr((self.ids, self.type_ids)).encode()


def shortened(tokens: Tokens, max_length: int, keep_first: bool, from_left: bool) -> Tokens:
    """As the `tokenizers` library cuts, whose own time grows with the square of the length of a pair.

    Special tokens around the texts are kept. Of a pair the longer text is cut, or the second one alone if keep_first.
    """
    lengths = [tokens.sequences.count(sequence) for sequence in (0, 1)]
    over = len(tokens.ids) - max_length
    room = max(0, sum(lengths) - over)
    wanted = [lengths[0], lengths[1] - over] if keep_first and lengths[1] > over else _shares(lengths, room)
    firsts = [length - count if from_left else 0 for length, count in zip(lengths, wanted, strict=True)]
    kept, seen = [], [0, 0]
    for place, sequence in enumerate(tokens.sequences):
        if sequence is None:
            kept.append(place)
            continue
        if firsts[sequence] <= seen[sequence] < firsts[sequence] + wanted[sequence]:
            kept.append(place)
        seen[sequence] += 1

    def of(values: Sequence[T]) -> list[T]:
        return [values[place] for place in kept]

    return Tokens(of(tokens.ids), of(tokens.type_ids), of(tokens.words), of(tokens.offsets), of(tokens.sequences), over)


def _shares(lengths: list[int], room: int) -> list[int]:
    """How many tokens each text keeps: the shorter one all, or else both half of the room."""
    shorter, longer = sorted(lengths)
    shares = [shorter, min(longer, room - shorter)] if 2 * shorter <= room else [room // 2, room - room // 2]
    return shares if lengths[0] <= lengths[1] else shares[::-1]
