"""Descriptions of the REST API for OpenAPI, from which clients are generated, as `OPTIONS /` tells them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import persia

from .api_operations import ANYTHING, OPERATIONS, PREDICTED, Operation, Parameter
from .listeners import Roles
from .open_inference.metadata import decode_metadata
from .served_version import ServedVersion

__all__ = ["DESCRIPTIONS", "described_api", "described_management", "described_model"]

_OPENAPI = "3.0.1"
DESCRIPTIONS = (
    Operation("", "options", "/", "apiDescription", "This description."),
    Operation("", "get", "/api-description", "api-description", "This description."),
)
_ERROR = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {"code": {"type": "integer"}, "type": {"type": "string"}, "message": {"type": "string"}},
}


def described_api(roles: Roles) -> dict[str, Any]:
    """Of a listener."""
    operations = (*DESCRIPTIONS, *(operation for operation in OPERATIONS if operation.role in roles))
    return _document("TorchServe's REST API, served by persia-serve", persia.__version__, operations)


def described_management(name: str) -> dict[str, Any]:
    """Of a model, whether there is one or not, as in TorchServe."""
    operations = (operation for operation in OPERATIONS if operation.path.startswith("/models/{model_name}"))
    of_management = (operation for operation in operations if operation.role == "management")
    return _document(f"RESTful Management API for: {name}", persia.__version__, of_management)


def described_model(version: ServedVersion) -> dict[str, Any]:
    """Of one version of a model: its predictions, and its tensors where it knows them."""
    name, number = version.facts.name, version.facts.archive.version
    terms: dict[str, Any] = {"body": ANYTHING, "answer": ANYTHING, "others": PREDICTED}
    summary = f"A prediction of {name} {number}."
    predictions = Operation("", "post", f"/predictions/{name}/{number}", "predictions", summary, **terms)
    document = _document(f"RESTful API for: {name}", number, [predictions])
    encoded = next((metadata for worker in version.workers if (metadata := worker.metadata)), b"")
    inputs = decode_metadata(encoded).inputs if encoded else ()
    if inputs:
        infer = Operation("", "post", f"/v2/models/{name}/versions/{number}/infer", "infer", "Tensors in and out.", **terms)
        path = _described(infer)
        path["requestBody"]["content"] = {"application/json": {"schema": _tensors_schema(inputs)}}
        document["paths"][infer.path] = {"post": path}
    return document


def _document(title: str, version: str, operations: Iterable[Operation]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": _OPENAPI,
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.summary, "operationId": operation.id}
    of_path = [Parameter(name, "string", "") for name in re.findall(r"\{(\w+)\}", operation.path)]
    described["parameters"] = [
        *({"in": "path", "name": one.name, "required": True, "schema": {"type": one.kind}} for one in of_path),
        *(
            {"in": "query", "name": one.name, "description": one.description, "schema": _schema_of(one)}
            for one in operation.query
        ),
    ]
    if operation.body:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    described["responses"] = {"200": {"description": HTTPStatus.OK.phrase, "content": _content(operation.answer)}} | {
        str(status): {"description": HTTPStatus(status).phrase, "content": _answer_of(status)} for status in operation.others
    }
    return described


def _schema_of(parameter: Parameter) -> dict[str, Any]:
    default = {} if parameter.default is None else {"default": parameter.default}
    return {"type": parameter.kind, **default}


def _content(kind: str) -> dict[str, Any]:
    """Bytes, text, or any JSON."""
    schema = {} if kind == "application/json" else {"type": "string", **({"format": "binary"} if kind == ANYTHING else {})}
    return {kind: {"schema": schema}}


def _answer_of(status: int) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": "#/components/schemas/Error"} if status >= 400 else {}}}


def _tensors_schema(inputs: Iterable[Any]) -> dict[str, Any]:
    """Of a request of the Open Inference Protocol with these tensors."""
    tensors = [
        {
            "type": "object",
            "description": f"{spec.datatype} {list(spec.shape)}",
            "required": ["name", "datatype", "shape"],
            "properties": {
                "name": {"type": "string", "enum": [spec.name]},
                "datatype": {"type": "string", **({"enum": [spec.datatype]} if spec.datatype else {})},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "data": {"type": "array", "items": {}},
            },
        }
        for spec in inputs
    ]
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "items": {"oneOf": tensors}}},
    }
