"""LitServe with one worker and its fast queue.

usage: ANSWERS_WITH=... python litserve_server.py PORT

It reads JSON, so the bytes come as base64, as its documentation has it for images.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve
from answering import answer
from starlette.responses import Response


class Answering(litserve.LitAPI):  # type: ignore[misc]  # LitServe is in an environment of its own
    """One request at a time."""

    def setup(self, device: str) -> None:
        """In the worker."""
        self.answer = answer()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """The bytes."""
        return base64.b64decode(request["data"])

    def predict(self, data: bytes) -> bytes:
        """Their answer."""
        return self.answer(data)

    def encode_response(self, output: bytes) -> Any:
        """Bytes, as the others answer."""
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    server = litserve.LitServer(Answering(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning")
