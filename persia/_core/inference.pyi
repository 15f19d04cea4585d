"""Models of a model server and their workers, and HTTP for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Buffer

from .net import CallObserver, Method
from .security import Guard, TlsContext

class Reactor:
    """Threads that wait for workers and clients. Any thread may use it."""

    def __init__(self, threads: int) -> None: ...
    def stop(self) -> None: ...

class WorkerLink:
    """The server's end of the socket to a process that runs a handler. Any thread may use it."""

    def retire(self) -> None:
        """It ends when it has done what it works on."""
    def end(self, status: int, reason: str) -> None:
        """At once; what it works on fails with a status of HTTP's and the reason."""
    def wait(self, seconds: float) -> tuple[str, str]:
        """How it has ended: "retired", "lost", "timed out"; "": it has not, after so many seconds. And why it was lost; "": it
        closed its connection, and how its process ends may say why.
        """

class ModelVersion:
    """A version's queue and workers. Any thread may use it."""

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        version: str,
        *,
        batch_size: int,
        max_batch_delay: float,
        queue_size: int,
        max_body_bytes: int,
        response_timeout: float,
        client_timeout: float = 0.0,
        only_idle: bool = False,
    ) -> None: ...
    def expect_workers(self, count: int) -> None:
        """How many it is to have. 0: requests are refused rather than wait."""
    def set_requests_at_once(self, requests: int) -> None:
        """So many may go to a worker at once if they wait when it becomes free. A batch_size over 1 goes before it."""
    def add_worker(self, socket: int, process: int) -> WorkerLink:
        """Takes the descriptor of a socket to a process that has loaded the model, and that process's number."""
    def wait_until_idle(self, seconds: float) -> bool: ...
    def ask(self, headers: Sequence[tuple[str, str]], seconds: float) -> tuple[bytes, str, str]:
        """A request without inputs: the answer's body, and of a failure its kind, such as "no worker", and its words."""
    def counts(self) -> dict[str, int]:
        """Now: queued, at_work, workers; since the start: refused, expired."""
    def latencies(self) -> dict[str, Any]:
        """HistogramTotals of answered requests: whole, queue, worker; of the last: last_queue_seconds, last_worker_seconds."""
    @staticmethod
    def bounds() -> list[float]:
        """Those of its histograms, in seconds."""

class Models:
    """What predictions are answered from. Any thread may use it."""

    def set(
        self,
        name: str,
        versions: dict[str, ModelVersion],
        default_version: str,
        *,
        weights: dict[str, float] = ...,
        sticky_by: str = "",
        shadow: str = "",
        shadow_share: float = 1.0,
    ) -> None: ...
    def remove(self, name: str) -> None: ...
    def asked(self) -> list[tuple[str, str, int, int, int]]:
        """Model, version as asked for (empty: none), requests, microseconds of all together, and of these in the queue."""

class AnswerObserver(CallObserver):
    """All answers over HTTP and gRPC: counted, and written to an access log. Any thread may use it."""

    def __init__(self, access_log: str | None = None) -> None:
        """OSError."""
    def counts(self) -> dict[str, int]:
        """By the class of HTTP's status: 2XX, 4XX, 5XX."""

class Keys(Guard):
    """TorchServe's keys of one kind. Any thread may use it."""

    def __init__(self, holder: str, needs_certificate: bool = False, check: str = "Authorization") -> None: ...
    def set(self, keys: Sequence[tuple[str, float | None]]) -> None:
        """Each with the seconds since 1970 until which it counts; None: it has no end."""

def predictions_method(models: Models, streams: bool = False) -> Method:
    """`InferenceAPIsService.Predictions`, or `StreamPredictions`."""

def model_infer_method(models: Models) -> Method:
    """`GRPCInferenceService.ModelInfer` of the Open Inference Protocol."""

_Parameters = dict[str, bool | int | float | str]
_ReadInput = tuple[str, str, tuple[int, ...], _Parameters, int, bytes | list[bytes]]

def read_infer_request(
    message: Buffer,
) -> tuple[str, str, str, _Parameters, list[_ReadInput], list[tuple[str, _Parameters]], list[tuple[int, int]]]:
    """A ModelInferRequest: model, version, id, parameters; the inputs; the outputs that are asked for; where raw tensors lie.

    An input: name, datatype, shape, parameters, and the field of its contents with its elements: numbers as bytes,
    little-endian and as wide as the field has them; field 0: it has none. A raw tensor: where it begins in the message, and
    its size. Raises DecodeError, InvalidInput.
    """

_WrittenOutput = tuple[str, str, tuple[int, ...], int, Buffer | list[bytes]]

def write_infer_response(model: str, version: str, id: str, outputs: Sequence[_WrittenOutput], raw: Sequence[Buffer]) -> bytes:
    """A ModelInferResponse. Outputs are as the inputs that are read, without parameters."""

class WorkerChannel:
    """The worker's end of the socket. One thread uses it."""

    def __init__(self, socket: int) -> None: ...
    def command(self) -> str | None:
        """`L`, `I`, or None: the server has closed the connection."""
    def number(self) -> int: ...
    def byte(self) -> int: ...
    def text(self) -> str | None: ...
    def batch(self) -> list[tuple[str, dict[str, Any], list[tuple[str, str, bytearray]]]]: ...
    def reply(self, code: int, message: str, predictions: Sequence[Any]) -> list[str]:
        """predictions: (id, content type, status, reason, headers, body). Refuses those, and a message, that no frame takes.

        Returns why, for the log.
        """

class Exchange:
    """A request over HTTP, and its answer. Any thread may use it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def segments(self) -> list[str]: ...
    @property
    def query(self) -> list[tuple[str, str]]: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def peer(self) -> str: ...
    @property
    def identity(self) -> str:
        """By a certificate or a token; empty: nobody asked for one."""
    @property
    def body(self) -> bytes: ...
    @property
    def has_ended(self) -> bool: ...
    def respond(self, status: int, headers: Sequence[tuple[str, str]], body: Buffer, close: bool = False) -> None: ...

class ExchangeQueue:
    """Requests that Python answers. Any thread may use it."""

    def __init__(self, most: int = 1024) -> None: ...
    def next(self, seconds: float) -> Exchange | None: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...

class HttpServer:
    """An HTTP/1.1 server. Any thread may use it."""

    def __init__(
        self,
        reactor: Reactor,
        others: ExchangeQueue,
        *,
        models: Models | None = None,
        guard: Guard | None = None,
        guards_of_paths: Mapping[str, Guard | None] = ...,
        answers: AnswerObserver | None = None,
        cors: tuple[str, str, str] = ...,
        max_body_bytes: int = ...,
        max_connections: int = ...,
        tls: TlsContext | None = None,
    ) -> None: ...
    def listen(self, address: str) -> str: ...
    def stop(self, seconds: float) -> None: ...
    def take_refused_clients(self) -> tuple[list[str], int]:
        """Clients with which no TLS could be agreed on, since the last call: some of them, `address: why`, and how many."""
    @property
    def connections(self) -> int: ...
