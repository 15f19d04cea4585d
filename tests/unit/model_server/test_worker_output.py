"""What workers write to the log, and how much of it."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from persia.model_server.handler_metrics import HandlerMetrics
from persia.model_server.request_ids import LINE_FORMAT, RequestIds
from persia.model_server.worker_output import WorkerOutput, lines
from tests.support.servers import PATIENCE


def test_a_worker_that_writes_far_too_much_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    output = WorkerOutput(HandlerMetrics(None, "host"), burst=1_000, per_second=1)
    noisy, quiet = output.open("noisy", "1.0", "9000"), output.open("quiet", "1.0", "9001")
    for pipes, count in ((noisy, 200), (quiet, 1)):
        for _ in range(count):
            os.write(pipes.output, b"0123456789" * 10 + b"\n")
        pipes.close()
    output.close()
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("quiet 1.0 9001: " + "0123456789" * 10) == 1
    assert sum(line.startswith("noisy 1.0 9000: ") for line in lines) < 15
    assert "noisy 1.0 9000 writes more than 1 bytes a second: what is over is left out" in lines
    left_out = [line for line in lines if line.endswith(" bytes of noisy 1.0 9000 were left out")]
    assert left_out and 18_000 < sum(int(line.split()[0]) for line in left_out) <= 20_200


def test_a_flood_is_told_of_seldom_and_holds_nobody_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    slow = threading.Event()
    output = WorkerOutput(HandlerMetrics(None, "host"), burst=100_000, per_second=100_000)
    held = SlowLog(slow)
    lines.addHandler(held)
    lines.setLevel(logging.INFO)
    try:
        pipes = output.open("noisy", "1.0", "9000")
        for _ in range(3_000):  # 3 MB, while not a single line is written
            os.write(pipes.output, b"x" * 999 + b"\n")
        pipes.close()
        slow.set()
        output.close()
    finally:
        lines.removeHandler(held)
        lines.setLevel(logging.NOTSET)
    said = [record.getMessage() for record in caplog.records if "noisy 1.0 9000" in record.getMessage()]
    assert len([line for line in said if "is left out" in line]) == 1, said
    assert sum(int(line.split()[0]) for line in said if line.endswith("were left out")) > 2_000_000


class SlowLog(logging.Handler):
    """Writes nothing before it may."""

    def __init__(self, may_write: threading.Event) -> None:
        super().__init__()
        self._may_write = may_write

    def emit(self, record: logging.LogRecord) -> None:
        self._may_write.wait(PATIENCE)


def test_ids_of_requests_stand_in_the_line_and_beside_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    output = WorkerOutput(HandlerMetrics(None, "host"))
    pipes = output.open("ctr", "1.0", "9000")
    ids = RequestIds()
    logger = logging.Logger("handler")
    with os.fdopen(os.dup(pipes.output), "w") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(LINE_FORMAT))
        handler.addFilter(ids)
        logger.addHandler(handler)
        logger.info("of no request")
        ids.current = ["one", "two"]
        logger.info("of [two]")
    pipes.close()
    output.close()
    (nobody, both) = caplog.records
    place = {"model": "ctr", "version": "1.0", "worker": "9000"}
    assert (nobody.getMessage(), vars(nobody)["fields"]) == ("ctr 1.0 9000: of no request", place)
    assert both.getMessage() == "ctr 1.0 9000: [one,two] of [two]"
    assert vars(both)["fields"] == {**place, "request_ids": ["one", "two"]}
