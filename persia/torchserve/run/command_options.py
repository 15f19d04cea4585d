"""The options of `persia-launcher torchserve` that go together: where it listens, and how much its models may take."""

from __future__ import annotations

from dataclasses import dataclass

import click

from persia.cli.option_groups import option_group
from persia.torchserve.run.options import DEFAULT_MESSAGE_BYTES

__all__ = ["Capacity", "Listeners", "capacity_options", "listener_options"]

_MOST_PORT = 65_535
_PORT = click.IntRange(0, _MOST_PORT)
_MIB = 1 << 20


@dataclass(frozen=True)
class Listeners:
    """The host of inference, and the ports. None: the command line does not say."""

    host: str
    port: int
    management_port: int
    health_port: int | None
    http_port: int | None
    http_management_port: int | None

    @property
    def chosen_health_port(self) -> int:
        """The one after that of management, unless the command line says another; 0: any free one."""
        if self.health_port is not None:
            return self.health_port
        return self.management_port + 1 if 0 < self.management_port < _MOST_PORT else 0


@dataclass(frozen=True)
class Capacity:
    """The processes and threads of each model, and what requests may take. None: the command line does not say."""

    workers: int | None
    threads: int | None
    queue: int
    max_message_mib: int
    heap: str | None

    @property
    def max_message_bytes(self) -> int:
        return self.max_message_mib * _MIB


listener_options = option_group(
    "listeners",
    Listeners,
    "Where it listens",
    host={"default": "127.0.0.1", "help": "Where inference is served; management is on 127.0.0.1 in any case."},
    port={"type": _PORT, "default": 7070, "help": "Of inference over gRPC; 0: any free one."},
    management_port={"type": _PORT, "default": 7071, "help": "Of management over gRPC; 0: any free one."},
    health_port={
        "type": _PORT,
        "help": "Of grpc.health.v1, on --host: SERVING while all models can answer; each is a service, too.  "
        "[default: the one after --management-port; any free one if that is 0]",
    },
    http_port={"type": _PORT, "help": "Serve inference over HTTP as well."},
    http_management_port={"type": _PORT, "help": "Serve management over HTTP as well."},
)

capacity_options = option_group(
    "capacity",
    Capacity,
    "What models and requests may take",
    workers={"type": click.IntRange(1), "help": "Of each model.  [default: as the archive says, else 1]"},
    threads={"type": click.IntRange(1), "help": "Of torch, in each worker.  [default: $OMP_NUM_THREADS, else 1]"},
    queue={"type": click.IntRange(1), "default": 100, "help": "Requests that wait per model, for archives that do not say."},
    max_message_mib={
        "type": click.IntRange(1),
        "default": DEFAULT_MESSAGE_BYTES // _MIB,
        "help": "Of requests and answers.",
    },
    heap={"help": "The JVM's -Xmx.  [default: 16 messages, at least 1g]"},
)
