"""A worker's process: it loads one handler under TorchServe's contract, and answers the batches that its server sends.

Handlers import `ts.*` from the package torchserve, which also finds them and makes what they are given: the context, the
metrics, the envelope. Here is the loop around them, for which TorchServe's own worker takes some 40 us a request.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import ts

from persia._core.inference import WorkerChannel
from persia.errors import InvalidInput

from .open_inference.answering import Answering
from .open_inference.calls import PROTOCOL
from .open_inference.handlers import ServedHandler
from .open_inference.metadata import encode_metadata
from .request_ids import LINE_FORMAT, RequestIds
from .torchserve_modules import MetricsCacheYamlImpl, ModelLoaderFactory, PredictionException, RequestProcessor, Service
from .worker_bodies import body_of, decode
from .worker_messages import REFUSAL, REQUESTS_AT_ONCE, Failure, Prediction, Request, is_status, sendable
from .worker_metrics import MetricLines, WorkerMetrics

METRICS = os.path.join(os.path.dirname(ts.__file__), "configs", "metrics.yaml")

_FAILED = 503  # TorchServe's status of a handler that fails

log = logging.getLogger(__name__)


class WorkerLoop:
    """Answers batches until the server closes the connection. One thread uses it."""

    def __init__(self, connection: socket.socket, metrics: WorkerMetrics, ids: RequestIds) -> None:
        self._socket = connection
        self._metrics = metrics
        self._ids = ids
        self._channel = WorkerChannel(connection.fileno())
        self._decodes = os.environ.get("TS_DECODE_INPUT_REQUEST", "true") == "true"
        self._service: Any = None
        self._handle: Callable[[list[dict[str, Any]], Any], Any] = _not_loaded

    def run(self) -> int:
        """Returns the exit code of the process, when the server has closed the connection or the model could not be loaded."""
        while (command := self._channel.command()) is not None:
            if command == "I":
                self._answer(self._channel.batch())
            elif command == "L" and not self._load():
                return 1
            self._metrics.tell()
        return 0

    def _load(self) -> bool:
        channel = self._channel
        name, directory, batch_size, handler = channel.text(), channel.text(), channel.number(), channel.text()
        gpu, envelope, limits_pixels = channel.number(), channel.text(), bool(channel.byte())
        metrics = MetricsCacheYamlImpl(config_file_path=os.environ.get("TS_METRICS_CONFIG", METRICS))
        metrics.initialize_cache()
        metrics.model_name = name
        self._metrics.set_model(name or "")
        code, message, predictions = 200, f"loaded model {name}", []
        try:
            self._service = ModelLoaderFactory.get_model_loader().load(
                name,
                directory,
                handler or None,
                gpu if gpu >= 0 else None,
                batch_size,
                envelope or None,
                limits_pixels,
                metrics,
            )
            predictions = [self._use(self._service)]
        except MemoryError:
            log.exception("the model %s does not fit into memory", name)
            code, message = 507, "System out of memory"
        except Exception as error:
            log.exception("the model %s could not be loaded", name)
            code, message = (507, "System out of memory") if "CUDA" in str(error) else (500, reason_of(error))
        self._reply(code, message, predictions)
        return code == 200

    def _use(self, service: Service) -> Prediction:
        """Returns what the model says of itself, which goes back with the word that it is loaded."""
        self._handle = service._entry_point
        handler = ServedHandler(service)
        self._open_inference = Answering(handler, self._predictions)
        # Handlers that stream write to it themselves: ts.handler_utils.utils.send_intermediate_predict_response.
        service.context.cl_socket = self._socket
        service.context.takes_refusals = True
        requests_at_once = {REQUESTS_AT_ONCE: str(handler.requests_at_once)}
        return Prediction("", "application/json", 200, "", requests_at_once, encode_metadata(handler.metadata()))

    def _answer(self, requests: list[Request]) -> None:
        self._ids.current = [request[0] for request in requests]
        began = time.monotonic()
        of_protocol = sum(PROTOCOL in headers for _, headers, _ in requests)
        failed = 500 if of_protocol == len(requests) else _FAILED  # which the Open Inference Protocol has for no worker
        try:
            predictions = self._open_inference.answer(requests) if of_protocol else self._predictions(requests)
            self._metrics.add_handled(time.monotonic() - began)
            self._reply(200, "Prediction success", [sendable(prediction) for prediction in predictions])
        except Failure as failure:
            self._reply(failed if failure.code == _FAILED else failure.code, failure.message, [])
        except (TypeError, ValueError, OverflowError, RecursionError):  # a header that is no text, for instance
            log.exception("what the handler says cannot be sent")
            self._reply(failed, "Invalid model predict output", [])

    def _reply(self, code: int, message: str, predictions: list[Prediction]) -> None:
        """What no frame takes fails its own request: the server would give up a worker that sent it."""
        words = message if code == 200 else message.encode(errors="backslashreplace").decode()
        for why in self._channel.reply(code, words, predictions):
            log.error("what the handler says cannot be sent: %s", why)

    def _predictions(self, requests: list[Request]) -> list[Prediction]:
        """What the handler answers to requests of TorchServe's own protocols. Raises Failure."""
        ids = {index: request[0] for index, request in enumerate(requests)}
        answers = self._answers(requests, ids)
        return [self._prediction(index, ids[index], answer) for index, answer in enumerate(answers)]

    def _answers(self, requests: list[Request], ids: dict[int, str]) -> list[Any]:
        """What the handler returns. Raises Failure for whatever goes wrong in it."""
        context = self._service.context
        inputs = []
        processors = []
        for _, headers, values in requests:
            inputs.append({name: decode(content_type, value, self._decodes) for name, content_type, value in values})
            types = {name: {"content-type": content_type} for name, content_type, _ in values}
            processors.append(RequestProcessor({**types, **headers}))
        context.request_ids = ids
        context.request_processor = processors
        context.metrics.request_ids = ids
        try:
            answers = self._handle(inputs, context)
        except MemoryError:
            log.exception("the handler ran out of memory")
            raise Failure(507, "Out of resources") from None
        except PredictionException as error:
            log.error("the handler refuses: %s", error.message)
            raise _refusal(error) from None
        except InvalidInput as error:
            log.error("the handler refuses: %s", error)
            raise Failure(400, str(error)) from None
        except Exception as error:
            log.exception("the handler failed")
            if "CUDA" in str(error):
                raise Failure(507, "Out of resources") from None
            raise Failure(_FAILED, "Prediction failed") from None
        if not isinstance(answers, list):
            log.warning("expected a list of the handler, got %s", type(answers).__name__)
            raise Failure(_FAILED, "Invalid model predict output")
        if len(answers) != len(inputs):
            log.warning("expected %d answers of the handler, got %d", len(inputs), len(answers))
            raise Failure(_FAILED, "number of batch response mismatched")
        return answers

    def _prediction(self, index: int, request_id: str, answer: Any) -> Prediction:
        if isinstance(answer, PredictionException):
            words = str(answer.message).encode(errors="backslashreplace")
            return Prediction(request_id, "", answer.error_code, "", {REFUSAL: "true"}, words)
        processor = self._service.context.request_processor[index]
        headers = processor.get_response_headers()
        if headers.get("ts_stream_next") == "true":  # this is the last part
            headers["ts_stream_next"] = "false"
        status, reason = processor.get_response_status_code(), processor.get_response_status_phrase()
        return Prediction(
            request_id,
            headers.get("content-type") or "",
            200 if status is None else status,
            reason or "",
            headers,
            body_of(answer),
        )


def _not_loaded(_inputs: list[dict[str, Any]], _context: Any) -> Any:
    raise Failure(500, "expected a batch for a model that is loaded, got one before")


def _refusal(error: PredictionException) -> Failure:
    if is_status(error.error_code):
        return Failure(error.error_code, str(error.message))
    answered = f"{error.error_code!r:.100}: {error.message}"
    return Failure(500, f"expected a status from 200 to 599 of the handler's PredictionException, got {answered}")


def reason_of(error: BaseException) -> str:
    """Of a handler that could not be imported, torchserve looks among its own ones as well: what came first is the reason."""
    if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("ts.torch_handler.") and error.__context__:
        return reason_of(error.__context__)
    return f"{type(error).__name__}: {error}"


def main(arguments: list[str] | None = None) -> int:
    """The process: `python -m persia.model_server.worker --socket FD`."""
    parser = argparse.ArgumentParser(prog="persia.model_server.worker", description=__doc__)
    parser.add_argument(
        "--socket", type=int, required=True, help="the descriptor of a connected socket, which the server has left open"
    )
    parser.add_argument("--metrics", type=int, help="the descriptor of a pipe for metrics")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stdout, format=LINE_FORMAT, level=logging.INFO)
    with socket.socket(fileno=options.socket) as connection:
        metrics, ids = WorkerMetrics(options.metrics, connection), RequestIds()
        for handler in logging.getLogger().handlers:
            handler.addFilter(MetricLines(metrics))
            handler.addFilter(ids)
        return WorkerLoop(connection, metrics, ids).run()


if __name__ == "__main__":
    sys.exit(main())
