"""A TorchServe from its start to its end: awaited, watched, and stopped when a signal comes or it ends by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

from persia.errors import PersiaError
from persia.torchserve.ready_line import ReadyLine
from persia.torchserve.run.health import Health
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.readiness import Readiness
from persia.torchserve.run.restoring import Planned, Start
from persia.torchserve.run.watch import Watch

__all__ = ["ready_line", "run"]

log = logging.getLogger("torchserve")

# What TorchServe takes to end when it has nothing to do: about 2.6, of which its network waits 2.
END_SECONDS = 5.0


def run(
    server: TorchServe,
    start: Start,
    events: SimpleQueue[str],
    batches: Mapping[str, bytes],
    seconds: float,
    drain: float,
) -> int:
    """The exit code: 0 after a stop that was asked for, 1 after a failure, whose logs stay. Raises PersiaError, OSError."""
    server.start()
    health = None
    try:
        _in_background(lambda: events.put(f"ended with {server.wait()}"))
        health = Health(server.health_listener)
        with Readiness(server, start.models, batches) as readiness:
            ready = readiness.wait(seconds, stop=lambda: not events.empty())
        if ready:
            with Watch(server, start.left, start.lost_versions(), health):
                server.publish_tokens()
                log.info("%s", ready_line(server, start.models))
                event = events.get()
                server.check()  # raises if the event was its end
    except (PersiaError, OSError) as error:
        log.error("%s", error)
        server.stop(0)
        return 1
    finally:
        if health is not None:
            health.leave()
    if not ready:
        server.stop(0)
        return 0
    log.info("%s: up to %.0f s for requests that run", event, drain)
    # A second signal kills, while stop() waits for the end.
    _in_background(lambda: _abort_at_second_signal(server, events))
    if not server.stop(drain + END_SECONDS):
        log.error("killed, before it had answered all requests")
        return 1
    return 0


def ready_line(server: TorchServe, models: Sequence[Planned]) -> ReadyLine:
    """What is said of a TorchServe that can answer."""
    options, directories = server.options, server.directories
    return ReadyLine.of(
        server.address,
        server.management_address,
        http_port=options.http_port,
        http_management_port=options.http_management_port,
        token_file=str(directories.key_file) if options.tokens else "",
        logs=str(directories.logs),
        health=server.health_address,
        models=[f"{planned.name} {planned.version}" for planned in models],
    )


def _abort_at_second_signal(server: TorchServe, events: SimpleQueue[str]) -> None:
    if not events.get().startswith("ended"):
        server.abort()


def _in_background(work: Callable[[], None]) -> None:
    """In a thread that ends with the process."""
    threading.Thread(target=work, daemon=True).start()
