"""What callers with Python's grpcio get of a server that does next to nothing: grpcio's own server, ours, ours with TLS.

usage: python benchmarks/bench_grpc.py [--rounds 5] [--seconds 2] [--callers 1 4] [--bytes 200 106000 1700000]
                                       [--lookup ADDRESS_OF_OLD ADDRESS_OF_NEW]

Every contender is a process of its own, and they take turns. Medians over the rounds, calls a second, and the ratio to grpcio's
server. --lookup: `EmbeddingServer.Lookup` with 16 signs is asked of two running embedding servers instead.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np

PATH = "/benchmark.Nothing/Do"
ANSWER = b"\x0a\x09[\n  0.5\n]"
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def serve(kind: str, directory: str) -> None:
    """Prints its address, and serves until it is killed."""
    if kind == "grpcio":

        class Handler(grpc.GenericRpcHandler):
            def service(self, _details: Any) -> Any:
                return grpc.unary_unary_rpc_method_handler(lambda _request, _context: ANSWER)

        server = grpc.server(ThreadPoolExecutor(8), options=SIZES)
        server.add_generic_rpc_handlers((Handler(),))
        print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
        server.start()
        server.wait_for_termination()
    from persia import _core

    files = [str(Path(directory, "made", name)) for name in ("server.pem", "server-key.pem", "ca.pem")]
    tls = _core.security.TlsContext.for_server(*files) if kind == "tls" else None
    native = _core.net.Server(tls=tls)
    native.add(PATH, _core.net.constant_method(ANSWER))
    print(native.listen("127.0.0.1:0"), flush=True)
    native.start()
    threading.Event().wait()


def credentials(directory: Path) -> grpc.ChannelCredentials:
    pems = [(directory / "made" / name).read_bytes() for name in ("ca.pem", "client-key.pem", "client.pem")]
    return grpc.ssl_channel_credentials(*pems)


def rate(channel: grpc.Channel, path: str, payload: bytes, callers: int, seconds: float) -> float:
    call: Any = channel.unary_unary(path)
    for _ in range(20):
        call(payload)
    counts = [0] * callers
    end = time.monotonic() + seconds

    def run(caller: int) -> None:
        while time.monotonic() < end:
            call(payload)
            counts[caller] += 1

    crew = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    began = time.monotonic()
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def lookup_request() -> bytes:
    from persia.v1 import embedding_pb2 as pb

    parts = np.array([0, 0, 16, 1, 16, 0], np.uint32)
    return pb.LookupRequest(parts=parts.tobytes(), signs=np.arange(16, dtype=np.uint64).tobytes()).SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--bytes", type=int, nargs="*", default=[200, 106_000, 1_700_000])
    parser.add_argument("--lookup", nargs=2, metavar="ADDRESS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        processes: list[subprocess.Popen[str]] = []
        channels: dict[str, grpc.Channel] = {}
        if options.lookup:
            channels = {name: grpc.insecure_channel(a, SIZES) for name, a in zip(("old", "new"), options.lookup, strict=True)}
            cases = [("/persia.v1.EmbeddingServer/Lookup", lookup_request(), callers) for callers in options.callers]
        else:
            launcher = Path(sys.executable).with_name("persia-launcher")
            made = [str(launcher), "certificates", str(Path(directory, "made")), "--host", "127.0.0.1"]
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
            for kind in ("grpcio", "native", "tls"):
                command = [sys.executable, __file__, "--serve", kind, directory]
                processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
                pipe = processes[-1].stdout
                assert pipe is not None
                address = pipe.readline().strip()
                secure = kind == "tls"
                channels[kind] = (
                    grpc.secure_channel(address, credentials(Path(directory)), SIZES)
                    if secure
                    else grpc.insecure_channel(address, SIZES)
                )
            cases = [(PATH, bytes(size), callers) for size in options.bytes for callers in options.callers]
        try:
            for path, payload, callers in cases:
                rates: dict[str, list[float]] = {kind: [] for kind in channels}
                for _ in range(options.rounds):
                    for kind, channel in channels.items():
                        rates[kind].append(rate(channel, path, payload, callers, options.seconds))
                medians = {kind: statistics.median(found) for kind, found in rates.items()}
                first = next(iter(medians.values()))
                words = ", ".join(f"{kind} {found:,.0f}/s ({found / first:.2f} x)" for kind, found in medians.items())
                print(f"{len(payload):>9,} bytes, {callers} callers: {words}")
        finally:
            for process in processes:
                process.kill()


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else main()
