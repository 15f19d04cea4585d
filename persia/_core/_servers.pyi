"""What of `_core.net` is a server's."""

from collections.abc import Sequence

from typing_extensions import Buffer

from persia._core import FeatureCounts, Table
from persia._core.net import Router
from persia._core.security import Guard, TlsContext
from persia._core.tracing import SpanRing

class Method:
    """Answers calls in the native core."""

class CallObserver:
    """Hears how each call has ended."""

class Server:
    """Bound by listen(); answers from start() on. Any thread may use it."""

    def __init__(
        self,
        *,
        workers: int = 0,
        max_connections: int = ...,
        max_memory_bytes: int = ...,
        max_message_bytes: int = ...,
        guard: Guard | None = None,
        tls: TlsContext | None = None,
    ) -> None:
        """A server that listens nowhere yet.

        Args:
            workers: How many calls are worked on at a time; 0: as many as there are processors.
            max_connections: Beyond them, the one that has been idle for longest makes room.
            max_memory_bytes: Of all requests and answers that are under way.
            max_message_bytes: Of one request, and of one answer.
            guard: Who may call; None: everybody.
            tls: What connections are encrypted with; None: they are not.
        """
    def add(self, path: str, method: Method) -> None:
        """Before start(). path: `/package.Service/Method`."""
    def set_observer(self, observer: CallObserver) -> None:
        """Before start()."""
    def listen(self, address: str) -> str:
        """`host:port`, port 0 for any free one, or `unix:/path`. Returns it with its port. InvalidInput, OSError."""
    def start(self) -> None: ...
    def stop(self, seconds: float) -> None:
        """Takes no new calls, lets those that run finish for so long, then ends them."""
    def counts(self) -> dict[str, int]:
        """Now: connections, calls, queued, memory_bytes; since the start: accepted, finished, refused, expired, cancelled,
        evicted.
        """
    def take_refused_clients(self) -> tuple[int, str]:
        """How many clients could not be spoken with since the last call, and who was the last one, and why."""

class Health:
    """The service grpc.health.v1.Health. Any thread may use it."""

    def __init__(self, services: list[str]) -> None:
        """services: full names, beside the server as a whole."""
    def add_to(self, server: Server) -> None: ...
    def set_serving(self, serving: bool) -> None:
        """Of all services."""
    def leave(self) -> None:
        """From now on, none is serving, whatever is said afterwards."""

class Message:
    """Bytes that came. Read-only, without a copy."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class ServerCall:
    """A call, or a message of its stream, for Python to answer. While it lives, nobody gets the next message of the stream."""

    def take_message(self) -> Message | None:
        """Once; None: the client of a stream has no more, or the call comes again."""
    @property
    def number(self) -> int:
        """The same for all that comes of one call; of no other one that is under way."""
    @property
    def path(self) -> str: ...
    @property
    def peer(self) -> str:
        """Its address."""
    @property
    def identity(self) -> str:
        """As the guard has it; empty: there is none."""
    @property
    def metadata(self) -> dict[str, str | bytes]: ...
    @property
    def seconds_left(self) -> float | None:
        """None: it has no deadline."""
    @property
    def has_ended(self) -> bool:
        """Whether nobody waits for an answer any more."""
    @property
    def unsent(self) -> int:
        """Bytes of answers that wait until the client takes them."""
    def send(self, message: Buffer) -> None:
        """One of any number of messages."""
    def reply(self, message: Buffer) -> None:
        """The last message: the call has ended well."""
    def add_trailer(self, key: str, value: str | Buffer) -> None:
        """Metadata that goes with the end, whatever that is. The values of keys that end in `-bin` are bytes. InvalidInput."""
    def finish(self, code: int, message: str = "") -> None: ...
    def come_again(self, below: int) -> None:
        """Lets next() return the call once more, when fewer bytes than that are unsent or it has ended. At most once."""

def constant_method(answer: bytes) -> Method:
    """Answers each request with the same message."""

class CallQueue:
    """Calls that Python answers: they wait until a thread takes them. Any thread may use it."""

    def __init__(self, most: int = ...) -> None:
        """most: what stands in line beyond that is refused."""
    def next(self, seconds: float) -> ServerCall | None:
        """Waits so long at most; None: nothing came, or it was closed."""
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def method(self, takes_stream: bool = False) -> Method:
        """One whose calls stand in this line."""

class HistogramTotals:
    """Since the start."""

    @property
    def seconds(self) -> float:
        """Of all together."""
    @property
    def within(self) -> list[int]:
        """How many took at most each bound, and more than the one before."""
    @property
    def beyond(self) -> int:
        """And more than all of them."""

class CallTotals:
    """Since the start."""

    @property
    def seconds(self) -> HistogramTotals: ...
    @property
    def by_code(self) -> list[int]:
        """How many calls have ended with each code of gRPC."""
    @property
    def dropped(self) -> int:
        """For which nobody waited any more before they were begun."""

class LookupTotals:
    """Since the start."""

    @property
    def lookups(self) -> int: ...
    @property
    def signs(self) -> int: ...
    @property
    def absent(self) -> int: ...
    @property
    def wrong_dim(self) -> int: ...

class LookupContext:
    """What a shard answers lookups from, and what is counted of them. Any thread may use it."""

    def __init__(
        self, index: int, count: int, server_start: int, max_numbers: int, bounds: Sequence[float], features: Sequence[str]
    ) -> None:
        """Lookups are refused until open().

        Args:
            index: Of the shard.
            count: Of all shards.
            server_start: Of its answers.
            max_numbers: Of an answer.
            bounds: Seconds, ascending, of the histogram of what lookups take.
            features: What is counted each.
        """
    def open(self, table: Table, checkpoint_id: int) -> None:
        """From now on, lookups are answered."""
    def close(self) -> None:
        """From now on, they are not."""
    def add_checkpoint(self, epoch: int, checkpoint_id: int) -> None:
        """The rows of that epoch and of later ones are of that checkpoint; said before the epoch can be read."""
    def set_readable(
        self, dense: Sequence[tuple[int, int, int]], variants: Sequence[tuple[int, list[tuple[int, str, dict[int, int]]]]]
    ) -> None:
        """Which epochs may be read for whom; said before the newest of these epochs can be read.

        Args:
            dense: (epoch, model, version) in the order of epochs; from that epoch on records name this version, 0: none.
            variants: As persia.variant.keyed_variants has them.
        """
    def readable_run(self, rows_for: tuple[int, int, int], low: int, high: int) -> tuple[int, int]:
        """The newest epochs in a row that may be read, of which one is from low to high: the first and the last one.

        (0, 0): there is none. rows_for: as for a Router.
        """
    def set_state(self, state: str) -> None:
        """What the shard does, in words: for those who ask before it is open."""
    @property
    def state(self) -> str: ...
    def totals(self) -> LookupTotals: ...
    def call_totals(self) -> CallTotals: ...
    def variant_totals(self) -> dict[int, int]:
        """Lookups that were answered, by the key of their variant; 0: of variants beyond those that are told apart."""
    def unknown_variants(self) -> int:
        """Lookups that named a variant which the newest epoch did not have."""
    @property
    def features(self) -> FeatureCounts: ...

class ForwardTotals:
    """Since the start."""

    @property
    def asking(self) -> HistogramTotals:
        """What it took to ask the shards."""
    @property
    def absent(self) -> int: ...
    @property
    def wrong_dim(self) -> int: ...
    @property
    def without_shard(self) -> int:
        """Lookups that were answered without a shard."""

class ForwardCounts:
    """What is counted of a middleware's lookups. Any thread may use it."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """bounds: seconds, ascending, of its histograms."""
    def totals(self) -> ForwardTotals: ...
    def call_totals(self) -> CallTotals: ...
    def variant_totals(self) -> dict[int, int]:
        """As LookupContext.variant_totals."""

def lookup_method(context: LookupContext, spans: SpanRing | None = None) -> Method:
    """EmbeddingServer.Lookup. spans: where those of sampled callers go; None: nobody wants them."""

def forward_method(
    router: Router, embedding_config_id: int, seconds: float, counts: ForwardCounts, spans: SpanRing | None = None
) -> Method:
    """Middleware.Forward. seconds: of a lookup whose caller says nothing. spans: as for lookup_method."""
