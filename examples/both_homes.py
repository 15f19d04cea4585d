"""The same archive in both homes of handlers, asked by the same client. `make demo` ends with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from persia.client.load import send_all
from persia.client.predict import Client
from persia.deployment.child import Child
from persia.service import SERVICE_VARIABLE
from persia.torchserve.ready_line import find_ready_line

__all__ = ["side_by_side"]

START_SECONDS, STOP_SECONDS = 60.0, 15.0
REQUESTS, CALLERS = 1000, 4
PROPERTIES = """\
inference_address=http://127.0.0.1:0
management_address=http://127.0.0.1:0
grpc_inference_port=0
grpc_management_port=0
enable_metrics_api=false
disable_token_authorization=true
default_workers_per_model=1
"""


@contextmanager
def serving(directory: Path, store: Path, archive: str, middleware: str, pause: Callable[[float], bool]) -> Iterator[str]:
    """Its address for predictions. pause: as of Child.wait_ready. Raises Interrupted, Unavailable."""
    config = directory / "config.properties"
    config.write_text(PROPERTIES)
    command = [sys.executable, "-m", "persia.launcher", "model-server", "--ts-config", str(config)]
    command += ["--model-store", str(store), "--models", archive]
    log_path = directory / "model-server.log"
    child = Child(
        "model-server", command, log_path, lambda: find_ready_line(child.said()) is not None, {SERVICE_VARIABLE: middleware}
    )
    child.start()
    try:
        child.wait_ready(START_SECONDS, pause)
        ready = find_ready_line(child.said())
        assert ready is not None
        yield ready.inference
    finally:
        child.stop(STOP_SECONDS)


def side_by_side(name: str, homes: dict[str, tuple[str, str]], batch: bytes) -> str:
    """Lines for people. homes: by title, the address for predictions and the token file, "" without. Raises PersiaError."""
    lines, scores = [], []
    for title, (address, token_file) in homes.items():
        with Client(name, address, token_file=token_file or None) as client:
            scores.append(client.predict(batch))
            send_all(client.predict, [batch], REQUESTS // 10, CALLERS)  # it warms up
            outcome = send_all(client.predict, [batch], REQUESTS, CALLERS)
        if outcome.first_error is not None:
            raise outcome.first_error
        lines.append(f"{title:<14} {len(outcome.seconds) / outcome.wall_seconds:7,.0f} requests a second")
    if not all(np.array_equal(one, scores[0]) for one in scores):
        raise SystemExit("the two homes answer different scores")
    return "\n".join([*lines, f"{CALLERS} callers, and the same {len(scores[0])} scores from both"])
