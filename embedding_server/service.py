"""The gRPC face of a shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

from persia import _core
from persia.errors import Unavailable
from persia.rpc import status_of
from persia.rpc.frames import Frame, frame, message_of
from persia.rpc.timer import Timer
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc

from .shard import MAX_NUMBERS, ShardServer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Buffer

__all__ = ["SERVICE", "EmbeddingService"]

SERVICE: str = pb.DESCRIPTOR.services_by_name["EmbeddingServer"].full_name


class EmbeddingService(pb_grpc.EmbeddingServerServicer):
    """Lookups hold no lock: each pins the newest version, and works without the interpreter's lock."""

    def __init__(self, shard: ShardServer, on_error: Callable[[Exception], None] = lambda _error: None) -> None:
        """on_error: called for each lookup that was refused or failed."""
        self._shard, self._on_error = shard, on_error
        self.frame_port = 0
        self.stopping = False

    def Lookup(self, request: pb.LookupRequest, context: grpc.ServicerContext) -> pb.LookupResponse:
        with self._measured():
            response, numbers = self._answer(request, request.parts, request.signs, request.sum_counts, request.sum_samples)
            response.numbers = numbers.tobytes()
            return response

    def answer_frame(self, columns: list[memoryview]) -> Frame:
        """The answer to a lookup whose columns came in a frame. Most are answered in the native core, and do not come here."""
        *bulk, message = columns
        try:
            with self._measured():
                response, numbers = self._answer(message_of(pb.LookupRequest, message), *bulk)
        except Exception as error:
            code, text = status_of(error)
            return frame(pb.LookupResponse(error=pb.Error(code=code.value[0], message=text)), b"")
        return frame(response, numbers.data)

    def lane(self) -> _core.net.FrameLane:
        """For a connection over which frames come."""
        return _core.net.FrameLane(self._shard.answers)

    def _answer(
        self, request: pb.LookupRequest, parts: Buffer, signs: Buffer, sum_counts: Buffer, sum_samples: Buffer
    ) -> tuple[pb.LookupResponse, npt.NDArray[np.float32]]:
        index, count = self._shard.place
        if request.shard_count and (request.shard_index, request.shard_count) != (index, count):
            raise Unavailable(f"expected shard {request.shard_index} of {request.shard_count}, got shard {index} of {count}")
        table = self._shard.table
        if table is None or not self._shard.ready:
            raise Unavailable(f"expected a shard that is ready, got one that is {self._shard.state}")
        snapshot = table.pin()
        numbers, absent, wrong_dim, misses = _core.answer(snapshot, parts, signs, sum_counts, sum_samples, MAX_NUMBERS)
        self._shard.answers.count(parts, absent, wrong_dim, misses)
        response = pb.LookupResponse(
            version=snapshot.version,
            absent=absent,
            wrong_dim=wrong_dim,
            server_start=self._shard.start_number,
            misses=misses,
            checkpoint_id=self._shard.checkpoint_id,
        )
        return response, numbers

    def _measured(self) -> Timer[None]:
        return Timer(None, self._took)

    def _took(self, seconds: float, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._on_error(error)
        self._shard.answers.took(seconds)

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        response = self._shard.status()
        response.frame_port = self.frame_port
        if self.stopping:  # calls that run are answered, and no new ones are asked for
            response.ready, response.state = False, "stopping"
        return response
