"""The service grpc.reflection: which services a server has, and what their messages look like. For grpcurl and its like."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2  # describes itself when it is imported
from grpc_reflection.v1alpha import reflection_pb2 as pb

__all__ = ["PATHS", "SERVICE", "Reflection"]

SERVICE = "grpc.reflection.v1alpha.ServerReflection"
# The two versions differ by their name alone.
PATHS = ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", f"/{SERVICE}/ServerReflectionInfo")
_HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_NOT_FOUND = 5


class Reflection:
    """Answers from what is loaded of protobuf."""

    def __init__(self, services: Sequence[str], own: descriptor_pool.DescriptorPool | None = None) -> None:
        """services: full names, beside those of reflection and health, which every server has.

        own: what is described beside protobuf's default pool, and goes before it.
        """
        self._services = sorted([*services, SERVICE, _HEALTH])
        self._pools = [*([own] if own is not None else []), descriptor_pool.Default()]

    def answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        """One request has one answer; what is not known is an error in it."""
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        for pool in self._pools:
            try:
                self._fill(request, response, pool)
            except KeyError as error:
                response.error_response.error_code = _NOT_FOUND
                response.error_response.error_message = str(error.args[0])
            else:
                break
        return response

    def _fill(
        self, request: pb.ServerReflectionRequest, response: pb.ServerReflectionResponse, pool: descriptor_pool.DescriptorPool
    ) -> None:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            response.list_services_response.service.extend([pb.ServiceResponse(name=name) for name in self._services])
        elif kind == "file_by_filename":
            _add(pool.FindFileByName(request.file_by_filename), response)
        elif kind == "file_containing_symbol":
            _add(pool.FindFileContainingSymbol(request.file_containing_symbol), response)
        elif kind == "file_containing_extension":
            extended = request.file_containing_extension
            message = pool.FindMessageTypeByName(extended.containing_type)
            _add(pool.FindExtensionByNumber(message, extended.extension_number).file, response)  # type: ignore[attr-defined]
        elif kind == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            numbers = [field.number for field in pool.FindAllExtensions(pool.FindMessageTypeByName(name))]
            response.all_extension_numbers_response.base_type_name = name
            response.all_extension_numbers_response.extension_number.extend(numbers)
        else:
            raise KeyError("expected one of the requests that gRPC's reflection knows, got none")


def _add(file: FileDescriptor, response: pb.ServerReflectionResponse) -> None:
    """The file, and those that it needs."""
    needed: dict[str, FileDescriptor] = {}
    left = [file]
    while left:
        one = left.pop()
        if one.name not in needed:
            needed[one.name] = one
            left.extend(one.dependencies)
    response.file_descriptor_response.file_descriptor_proto.extend([one.serialized_pb for one in needed.values()])
