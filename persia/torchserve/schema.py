"""TorchServe's gRPC messages and methods, as far as we use them, in a descriptor pool of their own.

Users load their own inference_pb2 beside us. A second copy of that schema in protobuf's default pool would be refused with a
`TypeError: duplicate symbol`, so ours stays out of it. Names of files and messages never cross the wire; numbers and types
of fields, and the paths of methods, do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from persia.rpc.grpcio import GrpcioSecurity
from persia.rpc.wire import MAX_MESSAGE_BYTES

__all__ = ["management_call", "message_class", "new_message", "open_channel", "predictions_call"]

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _INT32, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_INT32, _Field.TYPE_BOOL
_INPUT = "input"  # map<string, bytes>, which is a repeated message of a key and a value

# Message: field: number and type.
_MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
    "PredictionsRequest": {"model_name": (1, _STRING), "model_version": (2, _STRING), "input": (3, _INPUT)},
    "PredictionResponse": {"prediction": (1, _BYTES)},
    "ManagementResponse": {"msg": (1, _STRING)},
    "TorchServeHealthResponse": {"health": (1, _STRING)},
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
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="persia_torchserve.proto", package="persia.torchserve", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL)
            if kind != _INPUT:
                added.type = kind
                continue
            entry = message.nested_type.add(name="InputEntry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_STRING)
            entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL, type=_BYTES)
            added.label, added.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
            added.type_name = f".{file.package}.{name}.InputEntry"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in _MESSAGES}


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

    Without keepalive: TorchServe's server ends connections that ping it more than once in five minutes.
    """
    options: Sequence[tuple[str, int]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A TorchServe that was restarted is found again within a second, not two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
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
