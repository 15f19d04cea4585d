"""The text model behind gRPC alone, by TorchServe's own schema: what calls TorchServe calls it without a change.

usage: TEXT_MODEL=folder python grpc_home.py --port 8000
"""

from __future__ import annotations

import argparse
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from text_service import TextService

from persia.errors import InvalidInput
from persia.torchserve.schema import new_message

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
# Only one runs the model at a time; the others read and write meanwhile.
THREADS = 4


def handler_of(service: TextService) -> grpc.GenericRpcHandler:
    """The method Predictions."""

    def predictions(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            answer = service.answer(dict(request.input))
        except InvalidInput as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return new_message("PredictionResponse", prediction=answer.encode())

    method: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        predictions,
        request_deserializer=type(new_message("PredictionsRequest")).FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Predictions": method})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers([handler_of(TextService.of_environment())])
    server.add_insecure_port(f"127.0.0.1:{parser.parse_args().port}")
    server.start()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.stop(grace=5).wait()


if __name__ == "__main__":
    main()
