"""82 operations of management, in the order in which TorchServe's own test suite asks for them, for both of its wires.

And more requests over REST, of both listeners, that its users send.

Archives stand in for those of the suite: small ones, under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

__all__ = ["ARCHIVES", "CASES", "MORE_CASES", "Case", "MoreCase"]

ARCHIVES = ("squeezenet1_1", "mnist", "densenet161", "resnet-152-batch", "resnet-18")

# HOST is a web server.
_CASES = """
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1
POST models?url=mnist.mar&model_name=mnist
POST models?url=densenet161.mar&model_name=densenet161
POST models?url=HOST/densenet161.mar&model_name=densenet161
DELETE models/densenet161
POST models
DELETE models/mnist
POST models?url=mnist.mar&model_name=mnist&handler=invalidHandler
DELETE models/mnist
POST models?url=mnist.mar&model_name=mnist&handler=invalidHandler
PUT models/mnist?min_worker=1&synchronous=true
DELETE models/mnist
GET models/squeezenet1_1/all
GET models/squeezenet1_1/1.0
GET models/squeezenet1_1
DELETE models/squeezenet1_1
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1&runtime=python4
GET models?limit=&next_page_token=
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1
PUT models/squeezenet1_1?min_worker=1
PUT models/squeezenet1_1?min_worker=1&synchronous=true
PUT models/squeezenet1_1/1.0?min_worker=1&synchronous=true
PUT models/squeezenet1_1/0.0?min_worker=1&synchronous=true
PUT models/squeezenet1_1?min_worker=1&number_gpu=1
PUT models/squeezenet1_1/1.0/set-default
PUT models/squeezenet1_1/0.0/set-default
PUT models/squeezenet0_1/1.0/set-default
DELETE models/squeezenet1_1
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1&handler=serve/ts/torch_handler/image_classifier.py:handle
DELETE models/squeezenet1_1
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1&batch_size=3&initial_workers=3&startup_timeout=0
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1&startup_timeout=0
DELETE models/squeezenet1_1
POST models?url=resnet-152-batch.mar&model_name=resnet152&batch_size=2
DELETE models/resnet152
POST models?url=resnet-152-batch.mar&model_name=resnet152&batch_size=dd&initial_workers=1
DELETE models/resnet152
POST models?url=resnet-152-batch.mar&model_name=resnet152&batch_size=2&initial_workers=1&max_batch_delay=junk
DELETE models/resnet152
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1&initial_workers=-1
DELETE models/squeezenet1_1
POST models?url=resnet-18.mar&model_name=resnet-18&synchronous=true
DELETE models/resnet-18
POST models?url=resnet-18.mar&model_name=resnet-18&synchronous=-1
DELETE models/resnet-18
POST models?url=resnet-18.mar&model_name=resnet-18&synchronous=false
GET models?limit=1
GET models?limit=-1
GET models?limit=1&next_page_token=1
GET models?limit=1&next_page_token=-1
PUT models/resnet-18?number_gpu=10
PUT models/resnet-18?number_gpu=-1
PUT models/resnet-18?min_worker=1&max_worker=1&synchronous=true
PUT models/resnet-18?min_worker=1&max_worker=1&synchronous=false
PUT models/resnet-18?timeout=-1
PUT models/resnet-18?timeout=0
POST models?url=&model_name=resnet-18
POST models?url=HOST/invalid-resnet-18.mar&model_name=invalid-resnet18
GET models/invalid_squeezenet1_1
GET models/squeezenet1_1/0.0
GET models?next_page_token=12
PUT models/resnet-18?min_worker=1&synchronous=Nan
PUT models/resnet-18?min_worker=nan&synchronous=nan
PUT models/resnet-18
PUT models/resnet181?min_worker=1
PUT models/resnet-18?min_worker=2&max_worker=1
PUT models/resnet-18?min_worker=1
PUT models/resnet-18?min_worker=0
PUT models/resnet-18?min_worker=-1
PUT models/resnet-18?max_worker=-1
PUT models/invalid_squeezenet1_1/1.0/set-default
DELETE models/resnet-18
DELETE models/squeezenet1_1/0.0
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1
DELETE models/squeezenet1_1/?synchronous=true
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1
DELETE models/squeezenet1_1/?synchronous=nan
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1
DELETE models/squeezenet1_1/?timeout=true
POST models?url=squeezenet1_1.mar&model_name=squeezenet1_1
DELETE models/squeezenet1_1/?timeout=true&synchronous=-1
DELETE models/invalid_squeezenet1_1
"""

_TEXTS = ("url", "model_name", "model_version", "handler", "runtime")
_FLAGS = ("synchronous",)


class Case(NamedTuple):
    """path: with a query, in which HOST stands for the address of a web server."""

    number: int
    method: str
    path: str

    def rpc(self, host: str) -> tuple[str, Mapping[str, Any]]:
        """The operation of gRPC that asks the same, and its fields."""
        parts = urlsplit(self.path.replace("HOST", host))
        segments = [part for part in parts.path.split("/") if part]
        query = {key: _field(key, value) for key, value in parse_qsl(parts.query)}
        fields = {key: value for key, value in query.items() if value is not None}
        if self.method == "POST":
            return "RegisterModel", fields
        if len(segments) == 1:
            return "ListModels", fields
        named = {"model_name": segments[1]} | ({"model_version": segments[2]} if len(segments) > 2 else {})
        if segments[-1] == "set-default":
            return "SetDefault", named
        if self.method == "PUT":
            return "ScaleWorker", fields | named
        return ("DescribeModel" if self.method == "GET" else "UnregisterModel"), named


def _field(key: str, value: str) -> Any:
    """As its type is in the messages; None: gRPC has no way to say it."""
    if key in _TEXTS:
        return value
    if key in _FLAGS:
        return value == "true"
    return int(value) if value.lstrip("-").isdecimal() else None


CASES = [Case(number, *line.split()) for number, line in enumerate(_CASES.strip().splitlines())]


# Listener, method, path, and a body.
_MORE_CASES = """
inference GET ping
inference GET /
management GET /
inference GET nothing
management GET nothing
management GET models/a/b/c
management PATCH models
management PUT models
management POST models/other
management GET models/none/all
management POST models?url=missing.mar
management POST models?url=../other.mar
management POST models?url=/etc/hosts
management POST models?url=no_archive.mar
management POST models?url=fails_to_load.mar&initial_workers=1
management DELETE models/fails_to_load
management POST models?url=other.mar&initial_workers=1
management POST models?url=other.mar
management POST models?url=other-2.mar
management GET models
management GET models/other
management GET models/other/all
management GET models/other/2.0
management GET models/other/2.0?customized=true
management GET models/other/all?customized=true
management DELETE models/other/1.0
management PUT models/other/2.0?min_worker=1&max_worker=2&synchronous=true
management PUT models/other?model_version=7
management PUT models/other?min_worker=0&synchronous=true
management PUT models/other/2.0/set-default
inference POST predictions/other/1.0 echo
inference OPTIONS nothing
management POST models?url=configured.mar
management GET models/configured
management POST models?url=inner.mar&initial_workers=1
management GET models/inner?customized=true
management GET v1/models/inner
management GET v1/models/none
inference POST predictions
inference POST predictions/none echo
inference POST predictions/inner/9.9 echo
inference POST predictions/inner echo
inference GET predictions/inner?data=x
inference DELETE predictions/inner
inference POST explanations/inner echo
inference POST v1/models/inner:predict echo
inference POST v1/models/none:predict echo
inference POST v1/models/inner:other echo
inference POST models/inner/invoke echo
inference POST invocations echo
inference PUT models/inner
inference GET models
inference GET models/inner
inference GET metrics
management POST predictions/inner echo
management GET models?limit=2
management GET workflows
inference GET wfpredict/any
management DELETE models/none/1.0
management DELETE models/inner/1.0
management DELETE models/configured
management DELETE models/other/1.0
management DELETE models/other
management POST models {'url': 'other.mar', 'synchronous': 'true', initial_workers: '1', "batch_size": 3, max_batch_delay: 7}
management GET models/other
management DELETE models/other
management POST models {}
management POST models []
management GET models
management GET ping
inference OPTIONS predictions/none
inference OPTIONS explanations/none
"""


class MoreCase(NamedTuple):
    """listener: `inference` or `management`. A body for `models` is JSON."""

    number: int
    listener: str
    method: str
    path: str
    body: str = ""


MORE_CASES = [MoreCase(number, *line.split(" ", 3)) for number, line in enumerate(_MORE_CASES.strip().splitlines(), 100)]
