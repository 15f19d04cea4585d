"""gRPC, and those who are asked over it. Use persia.rpc and persia.routing rather than this.

`from persia import _core`, then `_core.net`: it is a part of that extension, not a module of a package.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia._core import Batch, FeatureCounts, Slots, Table
from persia._core.security import Guard, TlsContext, TokenSource

# Servers

class Method:
    """Answers calls in the native core."""

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
    def listen(self, address: str) -> str:
        """`host:port`, port 0 for any free one, or `unix:/path`. Returns it with its port. InvalidInput, OSError."""
    def start(self) -> None: ...
    def stop(self, seconds: float) -> None:
        """Takes no new calls, lets those that run finish for so long, then ends them."""
    def counts(self) -> dict[str, int]:
        """Now: connections, calls, queued, memory_bytes; since the start: accepted, finished, refused, expired, cancelled,
        evicted.
        """

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

# What servers answer in the native core, and count

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
    def set_state(self, state: str) -> None:
        """What the shard does, in words: for those who ask before it is open."""
    @property
    def state(self) -> str: ...
    def totals(self) -> LookupTotals: ...
    def call_totals(self) -> CallTotals: ...
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

def lookup_method(context: LookupContext) -> Method:
    """EmbeddingServer.Lookup."""

def forward_method(router: Router, embedding_config_id: int, seconds: float, counts: ForwardCounts) -> Method:
    """Middleware.Forward. seconds: of a lookup whose caller says nothing."""

# Those who are asked

class ReplicaHealth:
    """What a server says of itself; as persia.rpc.prober.Health."""

    @property
    def ready(self) -> bool: ...
    @property
    def state(self) -> str: ...
    @property
    def refused(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def server_start(self) -> int: ...
    @property
    def checkpoint_id(self) -> int: ...
    @property
    def checkpoint_seconds(self) -> int: ...
    @property
    def well(self) -> bool:
        """Whether it may be asked, as far as it alone is concerned."""

class Replica:
    """One server, and the connections to it. Any thread may use it."""

    def __init__(self, address: str, host: str = "", tls: TlsContext | None = None, token: TokenSource | None = None) -> None:
        """Connects when it is asked.

        Args:
            address: `127.0.0.1:5000`, `[::1]:5000` or `unix:/path`.
            host: Whose certificate it has to show; empty: that of the address.
            tls: What connections are encrypted with; None: they are not.
            token: Shown with each call; None: none is.
        """
    @property
    def address(self) -> str: ...
    @property
    def generation(self) -> int:
        """Of connections: a failure of one ends all of its generation."""
    @property
    def usable(self) -> bool:
        """Whether it may be asked: it is well, not excluded, and not closed."""
    @property
    def well(self) -> bool: ...
    @property
    def health(self) -> ReplicaHealth: ...
    @property
    def excluded(self) -> str:
        """Why it is not asked although it is well; empty: it is."""
    @property
    def closed(self) -> bool: ...
    @property
    def idle_connections(self) -> int: ...
    @property
    def unusable_since(self) -> float:
        """time.monotonic(), where it is unusable."""
    @property
    def standing(self) -> int:
        """Others with less go first. 0: well, 1: it was slower than it should be, 2: it has not even answered a probe."""
    def why_unusable(self) -> str:
        """What it says, or why it is excluded."""
    def mark_hanging(self, seconds: float) -> None:
        """For so long, others go first."""
    def suspect(self, generation: int, reason: str) -> None:
        """A connection of that generation failed: the server is not used again before it has said that it is well."""
    def set_health(
        self,
        generation: int,
        *,
        ready: bool,
        state: str,
        refused: str = "",
        version: int = 0,
        rows: int = 0,
        server_start: int = 0,
        checkpoint_id: int = 0,
        checkpoint_seconds: int = 0,
    ) -> str:
        """What it said when it was asked; generation: before that.

        Returns "outdated": a connection has failed since, and it was not taken; "changed": in what concerns those who choose
        between replicas; else "same".
        """
    def exclude(self, reason: str) -> None:
        """It is not asked, although it is well, until it is called with an empty reason."""
    def wait_for_change(self, generation: int, seconds: float) -> bool:
        """Whether the generation is another one, or it was closed, within so long."""
    def call(self, path: str, message: bytes, seconds: float) -> bytes:
        """One call, whatever its health is, and without a change to it.

        Raises:
            Unavailable: It cannot be reached.
            DeadlineExceeded: Not in time.
            PersiaError: What it says.
        """
    def close(self) -> None:
        """Calls that run may come to their end."""

class ReplicaSet:
    """Servers that can do the same work. Any thread may use it."""

    def __init__(self, name: str, replicas: list[Replica]) -> None:
        """name: stands in messages, such as `shard 1 of 2`."""
    @property
    def name(self) -> str: ...
    @property
    def replicas(self) -> list[Replica]:
        """As they are now."""
    def set_replicas(self, replicas: list[Replica], unresolved: str = "") -> None:
        """unresolved: what is wrong with names, for messages. Those that are not among them any more are not closed."""
    @property
    def usable(self) -> bool:
        """Whether one of them is."""
    @property
    def hanging(self) -> bool:
        """Whether no replica that can be used answers even probes."""
    def why_unusable(self) -> str:
        """What each replica says, for a message."""
    def close(self) -> None: ...

class Lookup:
    """A batch's that was begun. For one thread at a time."""

    @property
    def numbers(self) -> npt.NDArray[np.float16]:
        """Of all tensors, one after the other; not there before finish()."""
    @property
    def shapes(self) -> npt.NDArray[np.uint32]:
        """Of each tensor three, as ForwardResponse has them."""
    def finish(self) -> LookupResult:
        """Waits for the answers, once. Unavailable, DeadlineExceeded, or what a server has refused it with."""

class LookupResult:
    """What is to be said of a batch's tensors."""

    @property
    def versions(self) -> list[int]:
        """Of each shard; 0 for one that was not asked."""
    @property
    def absent(self) -> int: ...
    @property
    def wrong_dim(self) -> int: ...
    @property
    def missing_shards(self) -> list[int]:
        """Whose rows are zeros."""
    @property
    def counts(self) -> npt.NDArray[np.uint32]:
        """Of each feature four, as ForwardResponse has them. To be read once."""
    @property
    def checkpoint_id(self) -> int: ...
    @property
    def asking_seconds(self) -> float:
        """From the first request to the last answer."""

class Router:
    """Plans, asks the shards, checks and assembles. Any thread may use it."""

    def __init__(
        self,
        slots: Slots,
        shards: list[ReplicaSet],
        *,
        hedge_after: float,
        wait_for_service: float,
        spin_for: float,
        zeros_for_missing_shards: bool = False,
    ) -> None:
        """Seconds, as RouterOptions has them. slots: by which ids become signs; shards: in order."""
    def begin(self, batch: Batch, seconds: float) -> Lookup:
        """Sends what is to be asked. InvalidInput, TooLarge."""
    def settle(self, checkpoint_id: int, problem: str, known_starts: list[int] | None) -> None:
        """Which answers count from now on.

        Args:
            checkpoint_id: Of the checkpoint whose servers are asked.
            problem: Why there is no such checkpoint; empty: there is.
            known_starts: The server_start of those that count; None: of all.
        """
    @property
    def feature_counts(self) -> FeatureCounts: ...

class IdSet:
    """Numbers that are good, more of which may become known. Any thread may use it."""

    def __init__(self) -> None: ...
    def add(self, id: int) -> None: ...
    def __contains__(self, id: int) -> bool: ...

class Forwarded:
    """A middleware's answer, whose arrays share its memory. As ForwardResponse."""

    @property
    def numbers(self) -> npt.NDArray[np.float16]: ...
    @property
    def shapes(self) -> npt.NDArray[np.uint32]: ...
    @property
    def counts(self) -> npt.NDArray[np.uint32]: ...
    @property
    def versions(self) -> list[int]: ...
    @property
    def absent(self) -> int: ...
    @property
    def wrong_dim(self) -> int: ...
    @property
    def missing_shards(self) -> list[int]: ...
    @property
    def embedding_config_id(self) -> int: ...
    @property
    def checkpoint_id(self) -> int: ...

def forward(
    middleware: ReplicaSet,
    batch: Batch,
    *,
    seconds: float,
    timeout_ms: int,
    hedge_after: float,
    wait_for_service: float,
    spin_for: float,
    config_ids: IdSet | None,
) -> Forwarded:
    """Has a middleware look up a batch, and waits for its answer.

    Args:
        middleware: Any of them will do.
        batch: Only its ids are sent.
        seconds: How long it may take.
        timeout_ms: What the middleware is told of that.
        hedge_after: As for a Router, as the two that follow.
        wait_for_service: How long is waited for one that can be used.
        spin_for: How long at most who waits stays awake.
        config_ids: Embedding configs by which answers may be; None: any.

    Raises:
        Unavailable: No middleware answers.
        DeadlineExceeded: Not in time.
        PersiaError: What it says.
    """
