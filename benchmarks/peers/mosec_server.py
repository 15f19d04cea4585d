"""mosec with one worker.

usage: ANSWERS_WITH=... python mosec_server.py --address 127.0.0.1 --port PORT
"""

from __future__ import annotations

from answering import answer
from mosec import Server, Worker


class Answering(Worker):  # type: ignore[misc]  # mosec is in an environment of its own
    """Takes the bytes as they are, which mosec's mixins for JSON and msgpack would not."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self.answer = answer()

    def deserialize(self, data: bytes) -> bytes:
        """The request's body."""
        return data

    def serialize(self, data: bytes) -> bytes:
        """The answer's body."""
        return data

    def forward(self, data: bytes) -> bytes:
        """One request: batches would have to wait for callers that there are not."""
        return self.answer(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Answering, num=1)
    server.run()
