"""The model server's handler, which TorchServe would serve as well."""

from __future__ import annotations

from typing import Any

from answering import answer


class Answering:
    """One request at a time."""

    def initialize(self, _context: Any) -> None:
        """In the worker."""
        self.answer = answer()

    def handle(self, data: Any, _context: Any) -> list[bytes]:
        """Over gRPC the input is `data`, over REST the body."""
        return [self.answer(inputs.get("data") or inputs["body"]) for inputs in data]
