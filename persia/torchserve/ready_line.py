"""The line by which the launcher of a TorchServe says that it is ready, as it is written, and as others read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

__all__ = ["ReadyLine", "find_ready_line"]

# Only what is always there is asked for: a line that is not understood would be waited for in vain.
_READY = re.compile(r"^.*ready: inference on ([^\s,]+), management on ([^\s,]+)(?:,.*)?$", re.MULTILINE)
_TOKENS = re.compile(r", tokens in (.+?)(?=, logs in |$)")
_TEXT = re.compile(r"ready: (.*)$")


@dataclass(frozen=True)
class ReadyLine:
    """`text`: all that is said after `ready:`. `token_file`: empty where TorchServe runs without tokens."""

    text: str
    inference: str  # address
    management: str
    token_file: str

    @classmethod
    def of(
        cls,
        inference: str,
        management: str,
        *,
        http_port: int | None,
        http_management_port: int | None,
        token_file: str,
        logs: str,
        health: str,
        models: Sequence[str],
    ) -> ReadyLine:
        """models: a name and a version each."""
        parts = [f"inference on {inference}", f"management on {management}"]
        if http_port is not None:
            parts.append(f"inference over HTTP on port {http_port}")
        if http_management_port is not None:
            parts.append(f"management over HTTP on port {http_management_port}")
        parts += [f"tokens in {token_file}" if token_file else "no tokens", f"logs in {logs}", f"health on {health}"]
        parts.append(f"models: {', '.join(models) or 'no models yet'}")
        return cls(", ".join(parts), inference, management, token_file)

    def __str__(self) -> str:
        return f"ready: {self.text}"


def _message_of(line: str) -> str:
    """What a line of the log says, which may be an object of JSON (`--log-format json`)."""
    if not line.startswith("{"):
        return line
    try:
        return str(msgspec.json.decode(line)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return line


def find_ready_line(said: str) -> ReadyLine | None:
    """In what a launcher has logged; None if it is not ready yet."""
    if (match := _READY.search(said)) is None:
        return None
    (text,) = _TEXT.findall(_message_of(match[0]))
    tokens = _TOKENS.search(text)
    return ReadyLine(text, match[1], match[2], tokens[1] if tokens else "")
