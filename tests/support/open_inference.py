"""Callers of the Open Inference Protocol for tests: over gRPC by what reflection tells, and over REST in JSON and binary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from typing_extensions import Self

from tests.support.model_servers import Answer, ModelServerRun, ask
from tests.support.servers import PATIENCE

STANDARD = "inference.GRPCInferenceService"
TORCHSERVES = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
JSON_LENGTH = "Inference-Header-Content-Length"


class Grpc:
    """As grpcurl does it: it knows nothing but the name of the service. Any number of them may be in one process."""

    def __init__(self, address: str, service: str = STANDARD) -> None:
        self.channel = grpc.insecure_channel(address)
        self.service = service
        self.pool = descriptor_pool.DescriptorPool()
        call: Any = self.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
        [answer] = call(iter([request]), timeout=PATIENCE)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(one) for one in answer.file_descriptor_response.file_descriptor_proto
        ]
        for file in sorted(files, key=lambda one: len(one.dependency)):
            self.pool.Add(file)
        self.methods = self.pool.FindServiceByName(service).methods_by_name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def ask(self, method: str, **fields: Any) -> Any:
        """Raises grpc.RpcError."""
        described = self.methods[method]
        request, answer = map(message_factory.GetMessageClass, (described.input_type, described.output_type))
        call: Any = self.channel.unary_unary(
            f"/{self.service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request(**fields), timeout=PATIENCE)

    def failure(self, method: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        """The code and the words of a call that fails."""
        try:
            answer = self.ask(method, **fields)
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"expected a failure, got {answer!r}")


def infer(
    server: ModelServerRun, model: str, request: Mapping[str, Any], binary: bytes | None = None, path: str = "infer"
) -> Answer:
    """Over REST. binary: what stands behind the JSON."""
    body = json.dumps(request).encode()
    headers = {"Content-Type": "application/json"} if binary is None else {JSON_LENGTH: str(len(body))}
    return ask(server.inference(f"v2/models/{model}/{path}"), body + (binary or b""), "POST", headers)


def tensor(name: str, datatype: str, shape: Sequence[int], data: Any = None, **parameters: Any) -> dict[str, Any]:
    """An input over REST."""
    described: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(shape)}
    if data is not None:
        described["data"] = data
    return {**described, "parameters": parameters} if parameters else described
