"""grpcio with a handler in its own threads, and TorchServe's messages.

usage: ANSWERS_WITH=... python grpcio_server.py PORT
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from answering import answer

from persia.torchserve.schema import message_class, new_message

SERVICE, METHOD = "org.pytorch.serve.grpc.inference.InferenceAPIsService", "Predictions"


def main() -> None:
    answer_to = answer()

    def predictions(request: Any, _context: grpc.ServicerContext) -> Any:
        return new_message("PredictionResponse", prediction=answer_to(request.input["data"]))

    method = grpc.unary_unary_rpc_method_handler(
        predictions,
        message_class("PredictionsRequest").FromString,
        message_class("PredictionResponse").SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
