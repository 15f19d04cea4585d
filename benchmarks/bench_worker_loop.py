"""What the loop of a worker takes of the processor for a request, with a handler that does nothing.

usage: PYTHONPATH=. python benchmarks/bench_worker_loop.py [--sizes 256 32768 1740800] [--callers 1 4] [--seconds 3]

The requests come from nghttp2's h2load, over gRPC. Figures: requests a second, and microseconds of processor time of the
worker's process for a request, in its own code and in the kernel, which copies the request. So they count all that is done
around a handler in that process, and nothing of the way between the processes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

from persia.torchserve.schema import new_message
from tests.support.model_servers import ModelServerRun, make_mar

PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
HANDLER = """
class Noop:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        return [b"1"] * len(data)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 32 << 10, 1700 << 10], help="bytes of a request")
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="worker-loop-") as name:
        directory = Path(name)
        (directory / "noop.py").write_text(HANDLER)
        make_mar(directory / "store", "noop", handler=directory / "noop.py")
        with ModelServerRun(directory, directory / "store", "--models", "noop-1.0.mar") as server:
            server.wait_ready()
            process = int(server.workers("noop")[0]["pid"])
            print("   bytes  callers  requests/s  worker us  kernel us")
            for size in options.sizes:
                request = new_message("PredictionsRequest", model_name="noop", input={"batch": bytes(size)}).SerializeToString()
                body = directory / "request.bin"
                body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
                for callers in options.callers:
                    before = processor_seconds(process)
                    count = ask(server.places["grpc_inference"], body, callers, options.seconds)
                    after = processor_seconds(process)
                    own, kernel = (1e6 * (late - early) / count for early, late in zip(before, after, strict=True))
                    print(f"{size:8}  {callers:7}  {count / options.seconds:10,.0f}  {own:9.1f}  {kernel:9.1f}", flush=True)


def ask(address: str, body: Path, callers: int, seconds: int) -> int:
    """How many requests were answered, one at a time on each of so many connections."""
    command = ["h2load", "-D", str(seconds), "-c", str(callers), "-m", "1", "-d", str(body)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{PREDICTIONS}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (count,) = re.findall(r"(\d+) succeeded", said)
    return int(count)


def processor_seconds(process: int) -> tuple[float, float]:
    """In its own code, and in the kernel."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / ticks, int(fields[12]) / ticks  # utime, stime


if __name__ == "__main__":
    main()
