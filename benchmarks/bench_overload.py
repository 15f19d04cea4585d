"""What becomes of callers that are far more than can be served: goodput, lateness, refusals, memory, and how soon it is over.

usage: PYTHONPATH=. python benchmarks/bench_overload.py [--few 16] [--many 256] [--seconds 8] [--deadline 1.0]
           [--shape 128x16] [--rounds 3] [--checkpoint DIR]

Two embedding servers and a middleware; callers in four processes ask the middleware, each call with a deadline, one after
the other without a pause. Goodput is what is answered in time, of the calls that end in the measured seconds. The few and the
many take turns. The many's share is their goodput as a part of that of the few before and after them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support.middlewares import Middleware
from tests.support.servers import EmbeddingServer

FEATURES, ROWS, DIM = 26, 200_000, 16
PROCESSES = 4
LATE_SECONDS = 0.05
WARM_UP_SECONDS = 1.0


def batch(samples: int, ids: int) -> bytes:
    from persia.embedding.data import IDTypeFeature, PersiaBatch

    rng = np.random.default_rng(7)
    features = [
        IDTypeFeature(f"feature{i + 1}", list(rng.integers(0, ROWS, (samples, ids)).astype(np.uint64))) for i in range(FEATURES)
    ]
    return PersiaBatch(features, requires_grad=False).to_bytes()


def call_for(address: str, config: Path, raw: bytes, threads: int, deadline: float, seconds: float) -> None:
    """Says when it is ready, and begins when it is told to.

    Prints what each call of the threads came to: (when it began, seconds, how it ended).
    """
    from persia.ctx import InferCtx
    from persia.errors import PersiaError

    context = InferCtx([address], global_config=config)
    context.wait_for_serving(30)
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.time() + seconds
    calls: list[tuple[float, float, str]] = []

    def run() -> None:
        while (began := time.time()) < end:
            try:
                context.get_embedding_from_bytes(raw, timeout=deadline)
                how = "ok"
            except PersiaError as error:
                how = type(error).__name__
            calls.append((began, time.time() - began, how))

    crew = [threading.Thread(target=run) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    print(json.dumps(calls))


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def measure(address: str, config: Path, batch_file: Path, callers: int, seconds: float, deadline: float) -> list[list[Any]]:
    command = [sys.executable, __file__, "--caller", address, str(config), str(batch_file)]
    times = [str(deadline), str(WARM_UP_SECONDS + seconds)]
    shares = [callers // PROCESSES + (k < callers % PROCESSES) for k in range(PROCESSES)]
    crew = [
        subprocess.Popen([*command, str(share), *times], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for share in shares
        if share
    ]
    for process in crew:
        assert process.stdout is not None
        process.stdout.readline()
    for process in crew:
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()
    return [call for process in crew for call in json.loads(process.communicate()[0])]


def summary(calls: list[list[Any]], seconds: float, deadline: float) -> dict[str, Any]:
    begin = min(began for began, _, _ in calls) + WARM_UP_SECONDS
    window = [call for call in calls if begin <= call[0] + call[1] < begin + seconds]  # that ended then
    took = [call[1] for call in window if call[2] == "ok"]
    refused = [1000 * call[1] for call in window if call[2] != "ok"]
    return {
        "goodput": round(sum(1 for t in took if t <= deadline + LATE_SECONDS) / seconds, 1),
        "late": sum(1 for call in window if call[1] > deadline + LATE_SECONDS),
        "latest_ms": round(1000 * max([call[1] for call in window]) - 1000 * deadline, 1),
        "refused": len(refused),
        "refused_p50_ms": round(statistics.median(refused), 2) if refused else None,
        "how": {how: sum(1 for call in window if call[2] == how) for how in sorted({call[2] for call in window})},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=16)
    parser.add_argument("--many", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--deadline", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", default="128x16")
    parser.add_argument("--checkpoint", type=Path, required=True, help="as the peer's make_checkpoint.py writes it")
    options = parser.parse_args()
    samples, ids = map(int, options.shape.split("x"))
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        config = work / "embedding_config.yml"
        slots = {f"feature{i + 1}": {"dim": DIM} for i in range(FEATURES)}
        config.write_text(yaml.safe_dump({"feature_index_prefix_bit": 8, "slots_config": slots}))
        client = work / "client.yml"
        client.write_text(yaml.safe_dump({"embedding_worker_config": {"clients_ask_shards": False}}))
        raw = work / "batch.bin"
        raw.write_bytes(batch(samples, ids))
        shards = [EmbeddingServer(work, config, checkpoint=options.checkpoint, index=i, count=2) for i in range(2)]
        middleware = Middleware(work, config, [shard.address for shard in shards])
        try:
            middleware.wait_ready()
            pids = {"middleware": middleware.process.pid} | {f"shard {i}": s.process.pid for i, s in enumerate(shards)}
            peaks = dict.fromkeys(pids, 0.0)
            done = threading.Event()

            def watch() -> None:
                while not done.wait(0.05):
                    for name, pid in pids.items():
                        peaks[name] = max(peaks[name], resident(pid))

            watcher = threading.Thread(target=watch)
            watcher.start()

            def goodput(callers: int) -> float:
                calls = measure(middleware.address, client, raw, callers, options.seconds, options.deadline)
                figures = summary(calls, options.seconds, options.deadline)
                print(f"{callers:>4} callers", figures, flush=True)
                return float(figures["goodput"])

            few, shares = goodput(options.few), []
            for _ in range(options.rounds):
                many, before, few = goodput(options.many), few, goodput(options.few)
                shares.append(many / ((before + few) / 2))
            print(f"share of the many: {[round(s, 2) for s in shares]}, median {statistics.median(shares):.2f}")
            done.set()
            watcher.join()
            print("highest resident memory [MiB]", {name: round(peak) for name, peak in peaks.items()})
        finally:
            for server in shards:
                server.kill()
            middleware.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--caller"]:
        address, config, raw, threads, deadline, seconds = sys.argv[2:]
        call_for(address, Path(config), Path(raw).read_bytes(), int(threads), float(deadline), float(seconds))
    else:
        main()
