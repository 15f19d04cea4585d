"""What may be asked of each listener over REST: TorchServe's operations under its names, and ours."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ANYTHING", "OPERATIONS", "PREDICTED", "Operation", "Parameter"]

JSON, TEXT, ANYTHING = "application/json", "text/plain", "*/*"


class Parameter(NamedTuple):
    """Of a query."""

    name: str
    kind: str  # JSON Schema's
    description: str
    default: Any = None


class Operation(NamedTuple):
    """`role`: of the listener. `body` and `answer`: their types; no body: it takes none. `others`: statuses besides 200."""

    role: str
    method: str
    path: str
    id: str
    summary: str
    query: tuple[Parameter, ...] = ()
    body: str = ""
    answer: str = JSON
    others: tuple[int, ...] = ()


PREDICTED = (400, 404, 408, 429, 500, 503, 507)  # besides those that a handler sets
_SYNCHRONOUS = Parameter("synchronous", "boolean", "Whether the answer waits until the workers are ready.", False)
_REGISTER = (
    Parameter("url", "string", "An archive of the model store, or a file:// or http(s):// URL that allowed_urls matches."),
    Parameter("model_name", "string", "The name to serve it under, instead of the archive's."),
    Parameter("handler", "string", "Instead of the archive's."),
    Parameter("runtime", "string", "Instead of the archive's: python."),
    Parameter("batch_size", "integer", "The most requests that the handler gets at a time.", 1),
    Parameter("max_batch_delay", "integer", "Milliseconds that a batch waits for more requests.", 100),
    Parameter("response_timeout", "integer", "Seconds after which a worker that does not answer is replaced.", 120),
    Parameter("startup_timeout", "integer", "Seconds that a worker may take to load the model.", 120),
    Parameter("initial_workers", "integer", "Workers that are started at once.", 0),
    _SYNCHRONOUS._replace(default=True),
)
_SCALE = (
    Parameter("min_worker", "integer", "The least workers.", 1),
    Parameter("max_worker", "integer", "The most workers; as many as the least if it is left out."),
    _SYNCHRONOUS,
)
_TRAFFIC = (
    Parameter("weights", "string", "Versions and their shares, such as 1.0:90,2.0:10."),
    Parameter("sticky_by", "string", "A header: requests with the same value of it get the same version."),
    Parameter("shadow", "string", "A version that gets copies of requests, which nobody waits for."),
    Parameter("shadow_share", "number", "The share of the requests that is copied.", 1.0),
)
_LIST = (
    Parameter("limit", "integer", "The most models of the answer.", 100),
    Parameter("next_page_token", "integer", "As the last answer said it.", 0),
)


def _of_versions(role: str, method: str, path: str, name: str, summary: str, **more: Any) -> tuple[Operation, Operation]:
    """Of the version that requests without one get, and of one by its number."""
    return (
        Operation(role, method, path, name, f"{summary} of the default version.", **more),
        Operation(role, method, f"{path}/{{model_version}}", f"version_{name}", f"{summary} of one version.", **more),
    )


def _predicting(kind: str) -> dict[str, Any]:
    return {"body": kind, "answer": kind, "others": PREDICTED}


def _of_tensors(method: str, end: str, name: str, summary: str, **more: Any) -> tuple[Operation, Operation]:
    """Of the Open Inference Protocol, as _of_versions()."""
    model = "/v2/models/{model_name}"
    of_version = f"{model}/versions/{{model_version}}{end}"
    return (
        Operation("inference", method, f"{model}{end}", name, f"{summary} of the default version.", **more),
        Operation("inference", method, of_version, f"version_{name}", f"{summary} of one version.", **more),
    )


_MODEL = "/models/{model_name}"

_INFERENCE = (
    Operation("inference", "get", "/ping", "ping", "Whether every default version has its workers.", others=(500,)),
    *_of_versions("inference", "post", "/predictions/{model_name}", "predictions", "A prediction", **_predicting(ANYTHING)),
    *_of_versions("inference", "post", "/explanations/{model_name}", "explanations", "An explanation", **_predicting(ANYTHING)),
    Operation(
        "inference",
        "post",
        "/invocations",
        "invocations",
        "A prediction, as SageMaker asks for it.",
        (Parameter("model_name", "string", "The model."),),
        **_predicting(ANYTHING),
    ),
    Operation(
        "inference", "post", f"{_MODEL}/invoke", "invoke", "A prediction, as SageMaker asks for it.", **_predicting(ANYTHING)
    ),
    Operation(
        "inference", "post", "/v1/models/{model_name}:predict", "kserve_predict", "KServe's first version.", **_predicting(JSON)
    ),
    Operation(
        "inference", "post", "/v1/models/{model_name}:explain", "kserve_explain", "KServe's first version.", **_predicting(JSON)
    ),
    Operation("inference", "get", "/v1/models", "kserve_models", "The names of the models."),
    Operation("inference", "get", "/v1/models/{model_name}", "kserve_model", "Whether a model can answer.", others=(404,)),
    Operation("inference", "get", "/v2", "server_metadata", "The server's name, version and extensions."),
    Operation("inference", "get", "/v2/health/live", "server_live", "Whether the server is there."),
    Operation("inference", "get", "/v2/health/ready", "server_ready", "Whether all models have their workers.", others=(400,)),
    *_of_tensors("get", "", "model_metadata", "The tensors", others=(404, 503)),
    *_of_tensors("get", "/ready", "model_ready", "The readiness", others=(400, 404)),
    *_of_tensors("post", "/infer", "infer", "Tensors in and out", **_predicting(JSON)),
    *_of_tensors("post", "/explain", "explain", "An explanation in tensors", **_predicting(JSON)),
)
_MANAGEMENT = (
    Operation("management", "get", "/workflows", "listWorkflows", "An empty list: there are no workflows."),
    Operation("management", "get", "/models", "listModels", "A page of the models.", _LIST),
    Operation(
        "management",
        "post",
        "/models",
        "registerModel",
        "Registers an archive.",
        _REGISTER,
        others=(202, 400, 404, 405, 409, 500, 507),
    ),
    *_of_versions(
        "management",
        "get",
        _MODEL,
        "describeModel",
        "Settings and workers",
        query=(Parameter("customized", "boolean", "Whether the handler is asked to describe itself.", False),),
        others=(404, 503),
    ),
    *_of_versions("management", "put", _MODEL, "setAutoScale", "Sets the workers", query=_SCALE, others=(202, 400, 404, 500)),
    *_of_versions(
        "management",
        "delete",
        _MODEL,
        "unregisterModel",
        "Answers what waits, and ends the workers",
        others=(403, 404, 405, 408),
    ),
    Operation(
        "management",
        "put",
        f"{_MODEL}/{{model_version}}/set-default",
        "setDefault",
        "Requests that name no version get this one.",
        others=(404,),
    ),
    Operation("management", "get", f"{_MODEL}/traffic", "traffic", "How requests are dealt out.", others=(404,)),
    Operation("management", "put", f"{_MODEL}/traffic", "setTraffic", "Deals requests out.", _TRAFFIC, others=(400, 404)),
    Operation("management", "delete", f"{_MODEL}/traffic", "endTraffic", "The default version gets all.", others=(404,)),
    Operation(
        "management",
        "get",
        "/token",
        "token",
        "Makes a new key in the place of the old one.",
        (Parameter("type", "string", "inference or management"),),
        others=(400,),
    ),
)
_METRICS = (
    Operation(
        "metrics",
        "get",
        "/metrics",
        "metrics",
        "All metrics, for Prometheus.",
        (Parameter("name[]", "string", "A metric that is wanted; without it all are."),),
        answer=TEXT,
    ),
)
OPERATIONS = (*_INFERENCE, *_MANAGEMENT, *_METRICS)
