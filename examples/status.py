"""How embedding servers and middlewares are doing: rows, versions, packets, problems.

usage: python examples/status.py HOST:PORT...
"""

from __future__ import annotations

import sys

import grpc

from persia.v1 import embedding_pb2, embedding_pb2_grpc, middleware_pb2, middleware_pb2_grpc

SECONDS = 5.0


def status_of(address: str) -> str:
    """Whichever of the two listens there. Raises grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        try:
            server = embedding_pb2_grpc.EmbeddingServerStub(channel)
            return str(server.Status(embedding_pb2.StatusRequest(), timeout=SECONDS))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                raise
        middleware = middleware_pb2_grpc.MiddlewareStub(channel)
        return str(middleware.Status(middleware_pb2.MiddlewareStatusRequest(), timeout=SECONDS))


def main() -> int:
    if not (addresses := sys.argv[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    failed = False
    for address in addresses:
        try:
            print(f"== {address}\n{status_of(address)}", end="")
        except grpc.RpcError as error:
            print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
