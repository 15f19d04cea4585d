"""Batches of a worker in which there are calls of the Open Inference Protocol, beside others or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from persia.errors import InvalidInput, PersiaError

from ..worker_messages import REFUSAL, Prediction, Request
from .bodies import body_of, outputs_of
from .calls import PROTOCOL, Call, GrpcCall, Reply, RestCall, is_rest, json_length
from .handlers import ServedHandler

__all__ = ["Answering"]


class Answering:
    """Of one handler."""

    def __init__(self, handler: ServedHandler, predict: Callable[[list[Request]], list[Prediction]]) -> None:
        """predict: what the handler answers to requests of other protocols. Raises Failure."""
        self._handler = handler
        self._predict = predict

    def answer(self, requests: list[Request]) -> list[Prediction]:
        """In any order. What is wrong with a call is said to its caller alone. Raises Failure for requests of the others."""
        return self._with_tensors(requests) if self._handler.takes_tensors else self._with_bodies(requests)

    def _with_tensors(self, requests: list[Request]) -> list[Prediction]:
        others = [request for request in requests if PROTOCOL not in request[1]]
        predictions = self._predict(others) if others else []
        opened: list[tuple[str, Call]] = []
        for request in requests:
            if PROTOCOL in request[1]:
                try:
                    opened.append((request[0], self._opened(request)))
                except InvalidInput as error:
                    predictions.append(_prediction(request[0], _refusing(request).refuse(error)))
        answers = self._handler.infer([call.request for _, call in opened]) if opened else []
        for (request_id, call), outputs in zip(opened, answers, strict=True):
            try:
                if isinstance(outputs, PersiaError):
                    raise outputs
                reply = call.answer(self._handler.name, self._handler.version, outputs)
            except PersiaError as error:
                reply = call.refuse(error)
            predictions.append(_prediction(request_id, reply))
        return predictions

    def _opened(self, request: Request) -> Call:
        if request[1].get("explain") == "True":
            raise InvalidInput(f"the model {self._handler.name!r} takes tensors and has no explanations")
        return _read(request)

    def _with_bodies(self, requests: list[Request]) -> list[Prediction]:
        """The handler gets JSON, and answers it. Over REST it gets the body as it came, if that is all JSON."""
        predictions = []
        asked: list[Request] = []
        opened: dict[str, Call] = {}
        for request_id, headers, inputs in requests:
            if PROTOCOL not in headers or (is_rest(headers) and json_length(headers) is None):
                asked.append((request_id, headers, inputs))
                continue
            try:
                opened[request_id] = call = _read((request_id, headers, inputs))
                asked.append((request_id, headers, [("body", "", body_of(call.request))]))
            except InvalidInput as error:
                predictions.append(_prediction(request_id, _refusing((request_id, headers, inputs)).refuse(error)))
        for _, headers, _ in asked:
            headers.pop(PROTOCOL, None)
        for prediction in self._predict(asked) if asked else ():
            answered = opened.get(prediction.request_id)
            predictions.append(prediction if answered is None else self._written(answered, prediction))
        return predictions

    def _written(self, call: Call, prediction: Prediction) -> Prediction:
        """A handler's JSON, over the wire that the call came by."""
        if prediction.status >= 400 or REFUSAL in prediction.headers:
            return prediction
        try:
            reply = call.answer(self._handler.name, self._handler.version, outputs_of(prediction.body))
        except PersiaError as error:
            reply = call.refuse(error)
        return prediction._replace(status=reply.status, headers={**prediction.headers, **reply.headers}, body=reply.body)


def _read(request: Request) -> Call:
    """Raises InvalidInput."""
    _, headers, [(_, _, body)] = request
    return RestCall(headers, body) if is_rest(headers) else GrpcCall(body)


def _refusing(request: Request) -> Any:
    return RestCall if is_rest(request[1]) else GrpcCall


def _prediction(request_id: str, reply: Reply) -> Prediction:
    return Prediction(request_id, reply.headers.get("content-type", ""), reply.status, "", reply.headers, reply.body)
