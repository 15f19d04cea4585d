"""What it costs lookups that a deployment is watched: metrics, the console, and traces of one request in a hundred.

usage: python benchmarks/bench_seeing.py --checkpoint DIR [--rounds 15] [--seconds 1]

Lookups of 1 x 1 (one id of each of 26 features) through `InferCtx`, which routes by itself to two embedding servers, as fast as
one caller can. Contenders take turns, in the same servers:

    alone      nobody watches
    watched    Prometheus' page of each server is fetched each second, and a console asks Status every two seconds
    traced     the same, and one lookup in a hundred is of a caller that is sampled: it leaves a span here for the lookup, one
               for each server that is asked, and one in each server; they are exported
    spanned    the same, and each lookup is in a span of Python's, of which one in a hundred is sampled

A handler has three spans of Python for a request that takes it a millisecond; the last contender has one for a lookup that
takes a tenth of that.

DIR is a checkpoint with two shards, dim 16, slots feature1 to feature26. Printed: what a lookup takes of processors, here and
in the two servers together, in the mean of a round (what one lookup in a hundred costs is in no median), and how long it takes;
medians over the rounds, and the difference of the first. The console's own processor is not counted.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_server import write_configs
from opentelemetry import trace

from persia.batch import IDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.tracing import VARIABLE, Traces, traces_of

SHARDS, FEATURES = 2, 26
# A collector in a process of its own, which ends with its standard input.
RECEIVER = """
import sys
from tests.support.otlp_receiver import OtlpReceiver
with OtlpReceiver() as receiver:
    print(receiver.url, flush=True)
    sys.stdin.read()
"""


class Watchers:
    """Whoever fetches pages of metrics, and a console in a process of its own; close() once."""

    def __init__(self, pages: list[str], addresses: list[str], directory: Path) -> None:
        self._pages = pages
        config = directory / "console.yml"
        config.write_text(f"common_config: {{infer_config: {{servers: {addresses}}}}}\n")
        launcher = str(Path(sys.executable).with_name("persia-launcher"))
        command = [launcher, "console", "--port", "0", "--global-config", str(config)]
        self._console = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._console.stderr is not None
        self._console.stderr.readline()  # it is there: its start is no part of what is measured
        self._console.send_signal(signal.SIGSTOP)

    def start(self) -> None:
        self._console.send_signal(signal.SIGCONT)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._fetch)
        self._thread.start()

    def _fetch(self) -> None:
        while True:
            for page in self._pages:
                urllib.request.urlopen(page, timeout=10).read()
            if self._ending.wait(1.0):
                return

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        self._console.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self._console.kill()
        self._console.wait()
        assert self._console.stderr is not None
        self._console.stderr.close()


def caller(sampled: bool) -> trace.Span:
    """A span of somebody else's."""
    return trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, True, trace.TraceFlags(int(sampled))))


class Costs(NamedTuple):
    """Of a lookup, in seconds."""

    processors: float
    time: float


def processors_of(servers: list[int]) -> float:
    """Seconds that this process and these have had so far."""
    schedules = (path.read_text() for server in servers for path in Path(f"/proc/{server}/task").glob("*/schedstat"))
    return time.process_time() + sum(int(text.split()[0]) for text in schedules) / 1e9


def look_up(
    context: InferCtx, servers: list[int], batches: list[bytes], contender: str, traces: Traces, seconds: float
) -> Costs:
    """In the mean."""
    before, begin = processors_of(servers), time.perf_counter()
    number = 0
    while (now := time.perf_counter()) < begin + seconds:
        data = batches[number % len(batches)]
        number += 1
        if contender == "traced" and number % 100 == 0:
            with trace.use_span(caller(sampled=True)):
                context.get_embedding_from_bytes(data)
        elif contender == "spanned":
            with traces.span("persia.lookup"):
                context.get_embedding_from_bytes(data)
        else:
            context.get_embedding_from_bytes(data)
    return Costs((processors_of(servers) - before) / number, (now - begin) / number)


def start_servers(checkpoint: Path, directory: Path, stack: ExitStack) -> tuple[list[str], list[str], Path, list[int]]:
    """Addresses, pages of metrics, the embedding config, and the numbers of the processes."""
    embedding, config = write_configs(directory, checkpoint, None)
    addresses, pages, processes = [], [], []
    for index in range(SHARDS):
        command = [sys.executable, "-m", "persia.embedding_server", "--port", "0", "--metrics-port", "0"]
        command += ["--global-config", str(config), "--embedding-config", str(embedding)]
        log = directory / f"server_{index}.log"
        with log.open("w") as out:
            server = subprocess.Popen([*command, "--replica-index", str(index), "--replica-size", str(SHARDS)], stderr=out)
        processes.append(server.pid)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        while "serving version" not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        addresses.append(re.findall(r"listening on (\S+)", log.read_text())[0])
        pages.append(re.findall(r"metrics on (\S+)", log.read_text())[0])
    return addresses, pages, embedding, processes


def main() -> None:
    """Prints a line for each contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1)
    options = parser.parse_args()
    receiver = subprocess.Popen([sys.executable, "-c", RECEIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    os.environ |= {
        VARIABLE: "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.stdout.readline().strip(),
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    }
    random = np.random.default_rng(1)
    batches = [
        PersiaBatch(
            [IDTypeFeature(f"feature{i + 1}", [random.integers(0, 100_000, 1).astype(np.uint64)]) for i in range(FEATURES)],
            requires_grad=False,
        ).to_bytes()
        for _ in range(500)
    ]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        addresses, pages, embedding, servers = start_servers(options.checkpoint, directory, stack)
        context = stack.enter_context(InferCtx([[one] for one in addresses], embedding_config=embedding))
        context.wait_for_serving(60)
        watchers, traces = Watchers(pages, addresses, directory), traces_of("bench")
        look_up(context, servers, batches, "alone", traces, 1.0)
        stack.callback(watchers.close)
        means: dict[str, list[Costs]] = {"alone": [], "watched": [], "traced": [], "spanned": []}
        for round_number in range(options.rounds):
            for contender in list(means)[:: 1 if round_number % 2 else -1]:
                if contender != "alone":
                    watchers.start()
                took = look_up(context, servers, batches, contender, traces, options.seconds)
                if contender != "alone":
                    watchers.stop()
                means[contender].append(took)
    receiver.communicate()
    for contender, found in means.items():
        ratios = sorted(one.processors / alone.processors for one, alone in zip(found, means["alone"], strict=True))
        quarter = len(ratios) // 4
        processors, took = (statistics.median(costs) * 1e6 for costs in zip(*found, strict=True))
        print(
            f"{contender:8} {processors:6.1f} us of a processor for a lookup of {took:6.1f} us, "
            f"{statistics.median(ratios):.3f} times alone "
            f"(half of the rounds: {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})"
        )


if __name__ == "__main__":
    main()
