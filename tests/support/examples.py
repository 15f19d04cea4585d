"""How many examples a property gets: all, or with `make test` a quarter, as the loaded profile of Hypothesis says (D-258)."""

from __future__ import annotations

from hypothesis import settings


def examples(whole: int) -> int:
    """whole: under Hypothesis's own profile, where a property that names no number gets 100."""
    return max(1, whole * settings().max_examples // 100)
