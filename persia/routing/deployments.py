"""Whether a server is of the deployment that is meant: an address may be another one's by now."""

from __future__ import annotations

__all__ = ["why_another"]


def why_another(own: str, said: str) -> str:
    """Why a server that says this deployment must not be asked by somebody who has that one; empty: it may be.

    Who has none asks anybody, and a server that says none is asked by anybody: it may be older, or not set up for it yet.
    """
    if not own or not said or own == said:
        return ""
    return f"expected a server of the deployment {own!r}, got one of {said!r}: its address may have been given to another one"
