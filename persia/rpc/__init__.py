"""gRPC as this project uses it: one way to make a server, one to watch servers, one mapping between errors and statuses."""

from persia.rpc.server import MAX_MESSAGE_BYTES, Server
from persia.rpc.status import error_of, status_of
from persia.rpc.stop_signal import StopSignal

__all__ = ["MAX_MESSAGE_BYTES", "Server", "StopSignal", "error_of", "status_of"]
