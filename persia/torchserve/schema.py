"""TorchServe's gRPC messages and methods, as far as we use them, in a descriptor pool of their own.

Users load their own inference_pb2 beside us. A second copy of that schema in protobuf's default pool would be refused with a
`TypeError: duplicate symbol`, so ours stays out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory

from persia.rpc.grpcio import GrpcioSecurity
from persia.rpc.wire import MAX_MESSAGE_BYTES

__all__ = [
    "DESCRIPTORS",
    "UNACKNOWLEDGED_SECONDS",
    "management_call",
    "message_class",
    "new_message",
    "open_channel",
    "predictions_call",
]

# How long what was sent to a machine may stay without a word from it; then the connection ends, and with it the call.
UNACKNOWLEDGED_SECONDS = 3
_PING_SECONDS = 330

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _INT32, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_INT32, _Field.TYPE_BOOL
_INPUT = "input"  # map<string, bytes>, which is a repeated message of a key and a value

_PACKAGE = "org.pytorch.serve.grpc"
_EMPTY = "google.protobuf.Empty"

# File: message: field: number and type.
_MESSAGES: dict[str, dict[str, dict[str, tuple[int, Any]]]] = {
    "inference": {
        "PredictionsRequest": {"model_name": (1, _STRING), "model_version": (2, _STRING), "input": (3, _INPUT)},
        "PredictionResponse": {"prediction": (1, _BYTES)},
        "TorchServeHealthResponse": {"health": (1, _STRING)},
    },
    "management": {
        "ManagementResponse": {"msg": (1, _STRING)},
        "DescribeModelRequest": {"model_name": (1, _STRING), "model_version": (2, _STRING), "customized": (3, _BOOL)},
        "ListModelsRequest": {"limit": (1, _INT32), "next_page_token": (2, _INT32)},
        "RegisterModelRequest": {
            "batch_size": (1, _INT32),
            "handler": (2, _STRING),
            "initial_workers": (3, _INT32),
            "max_batch_delay": (4, _INT32),
            "model_name": (5, _STRING),
            "response_timeout": (6, _INT32),
            "runtime": (7, _STRING),
            "synchronous": (8, _BOOL),
            "url": (9, _STRING),
            "s3_sse_kms": (10, _BOOL),
            "startup_timeout": (11, _INT32),
        },
        "ScaleWorkerRequest": {
            "model_name": (1, _STRING),
            "model_version": (2, _STRING),
            "max_worker": (3, _INT32),
            "min_worker": (4, _INT32),
            "number_gpu": (5, _INT32),
            "synchronous": (6, _BOOL),
            "timeout": (7, _INT32),
        },
        "SetDefaultRequest": {"model_name": (1, _STRING), "model_version": (2, _STRING)},
        "UnregisterModelRequest": {"model_name": (1, _STRING), "model_version": (2, _STRING)},
    },
}

# File: its service, and of each method the request, the answer, and whether the answer is a stream.
_SERVICES: dict[str, tuple[str, dict[str, tuple[str, str, bool]]]] = {
    "inference": (
        "InferenceAPIsService",
        {
            "Ping": (_EMPTY, "TorchServeHealthResponse", False),
            "Predictions": ("PredictionsRequest", "PredictionResponse", False),
            "StreamPredictions": ("PredictionsRequest", "PredictionResponse", True),
        },
    ),
    "management": (
        "ManagementAPIsService",
        {
            name: (f"{name}Request", "ManagementResponse", False)
            for name in ("DescribeModel", "ListModels", "RegisterModel", "ScaleWorker", "SetDefault", "UnregisterModel")
        },
    ),
}


def _file(name: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package=f"{_PACKAGE}.{name}", syntax="proto3", dependency=[empty_pb2.DESCRIPTOR.name]
    )
    for kind, fields in _MESSAGES[name].items():
        message = file.message_type.add(name=kind)
        for field, (number, type_) in fields.items():
            added = message.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL)
            if type_ != _INPUT:
                added.type = type_
                continue
            entry = message.nested_type.add(name="InputEntry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_STRING)
            entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL, type=_BYTES)
            added.label, added.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
            added.type_name = f".{file.package}.{kind}.InputEntry"
    service_name, methods = _SERVICES[name]
    service = file.service.add(name=service_name)
    for method, (asked, answered, is_stream) in methods.items():
        kinds = [f".{kind}" if kind == _EMPTY else f".{file.package}.{kind}" for kind in (asked, answered)]
        service.method.add(name=method, input_type=kinds[0], output_type=kinds[1], server_streaming=is_stream)
    return file


def _described() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(empty_pb2.DESCRIPTOR.serialized_pb)
    for name in _MESSAGES:
        pool.Add(_file(name))
    return pool


def _classes() -> dict[str, Any]:
    return {
        kind: message_factory.GetMessageClass(DESCRIPTORS.FindMessageTypeByName(f"{_PACKAGE}.{name}.{kind}"))
        for name, messages in _MESSAGES.items()
        for kind in messages
    }


DESCRIPTORS = _described()
_CLASSES = _classes()


def new_message(name: str, **fields: Any) -> Any:
    """Makes a message of TorchServe's schema, such as PredictionsRequest(model_name=..., input={...: bytes})."""
    return _CLASSES[name](**fields)


def message_class(name: str) -> Any:
    """The class of a message, such as `RegisterModelRequest`, for those who answer."""
    return _CLASSES[name]


def open_channel(address: str, module: Any = grpc, security: GrpcioSecurity | None = None) -> Any:
    """A channel to `host:port`; module: grpc, or grpc.aio. Nothing is connected before the first call.

    security: None: plain text.

    TorchServe's server ends connections that ping it more than once in five minutes, so they are pinged less often. What a lost
    machine does not acknowledge is noticed sooner: where there are pings, gRPC has TCP give up after their timeout.
    """
    options: Sequence[tuple[str, int]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A TorchServe that was restarted is found again within a second, not two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.keepalive_time_ms", 1000 * _PING_SECONDS),
        ("grpc.keepalive_timeout_ms", 1000 * UNACKNOWLEDGED_SECONDS),
    ]
    if security is None:
        return module.insecure_channel(address, options=options)
    return (security.channel if module is grpc else security.aio_channel)(address, options)


def predictions_call(channel: Any) -> Any:
    """Predictions, as something to call with a PredictionsRequest, `timeout` and `metadata`."""
    return _call(channel, "inference.InferenceAPIsService/Predictions", "PredictionsRequest", "PredictionResponse")


def management_call(channel: Any, method: str) -> Any:
    """A method of the management service, such as `ListModels`."""
    return _call(channel, f"management.ManagementAPIsService/{method}", f"{method}Request", "ManagementResponse")


def _call(channel: Any, path: str, request: str, response: str) -> Any:
    return channel.unary_unary(
        f"/org.pytorch.serve.grpc.{path}",
        request_serializer=_CLASSES[request].SerializeToString,
        response_deserializer=_CLASSES[response].FromString,
    )
