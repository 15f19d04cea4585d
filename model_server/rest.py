"""TorchServe's REST API for what is no prediction: health, management, metrics. Threads here take requests from a line."""

from __future__ import annotations

import json
import logging
from typing import Any

from persia._core.inference import Exchange, ExchangeQueue

from .api_description import described_api, described_management, described_model
from .exchanges import ExchangeThreads
from .keys import Keys
from .listeners import Roles
from .management import THREADS as MANAGEMENT_THREADS
from .management import Management
from .open_inference.rest_api import answer_rest
from .open_inference.served import ServedModels
from .refusals import BadRequest, NoSuchMethod, NoSuchPath, Refusal, WorkflowNotFound
from .rest_metrics import RestMetrics
from .rest_models import NO_SUCH_METHOD, RestModels

__all__ = ["RestManagement"]

log = logging.getLogger(__name__)

_THREADS = 4
_JSON = ("content-type", "application/json")
_NO_SUCH_PATH = "Requested resource is not found, please refer to API document."


class RestManagement:
    """Answers what stands in a line, in threads of its own."""

    def __init__(
        self,
        management: Management,
        line: ExchangeQueue,
        roles: Roles,
        metrics: RestMetrics,
        keys: Keys | None = None,
    ) -> None:
        """roles: of the listener that fills the line. keys: those that may be renewed where models may be managed."""
        self._roles = roles
        self._metrics = metrics
        self._management = management
        self._models = RestModels(management)
        self._open_inference = ServedModels(management.registry, management.readiness)
        self._manages = "management" in roles
        self._keys = keys if self._manages else None
        threads = MANAGEMENT_THREADS if self._manages else _THREADS if "inference" in roles else 1
        self._threads = ExchangeThreads("rest", line, self._take, threads)

    def close(self, seconds: float) -> None:
        """Takes no more, and waits for so long for what is being answered."""
        self._threads.close(seconds)

    def _take(self, exchange: Exchange) -> None:
        if "metrics" in self._roles and exchange.segments == ["metrics"]:
            return self._metrics.answer(exchange)
        try:
            status, answer = self._answer(exchange)
        except Refusal as refusal:
            status, answer = refusal.status, {"code": refusal.status, "type": refusal.kind, "message": str(refusal)}
        except Exception:
            log.exception("internal error of %s %s", exchange.method, exchange.path)
            status, answer = 500, {"code": 500, "type": "InternalServerException", "message": "see the server's log"}
        text = "" if answer is None else json.dumps(answer, indent=2, ensure_ascii=False)
        exchange.respond(status, [_JSON], f"{text}\n".encode(errors="backslashreplace"), close=status >= 400)

    def _answer(self, exchange: Exchange) -> tuple[int, Any]:
        """The status, and what is sent as JSON; None: an empty line. Raises Refusal."""
        match exchange.method, exchange.segments:
            case ("OPTIONS", []) | (_, ["api-description"]):
                return 200, described_api(self._roles)
            case "OPTIONS", ["predictions" | "explanations", name, *rest] if "inference" in self._roles:
                return 200, described_model(self._management.registry.find(name, rest[0] if rest else None))
            case "OPTIONS", ["models", name] if self._manages:
                return 200, described_management(name)
            case _, ["ping"] if "inference" in self._roles:
                health = self._management.health()
                return 200 if health["status"] == "Healthy" else 500, health
            case _, []:
                raise NoSuchMethod(NO_SUCH_METHOD)
            case _ if self._roles == ("metrics",):
                raise NoSuchPath(_NO_SUCH_PATH)
            case "GET", ["workflows"] if self._manages:
                return 200, {"workflows": []}
            case "POST", ["workflows"] if self._manages:
                raise BadRequest("Registering new workflows is disabled.")
            case ("GET" | "DELETE", ["workflows", name]) if self._manages:
                raise WorkflowNotFound(name)
            case _, ["workflows", *_] if self._manages:
                raise NoSuchMethod(NO_SUCH_METHOD)
            case _, ["wfpredict", name, *_]:
                raise WorkflowNotFound(name)
            case method, ["v2", *rest]:
                return answer_rest(self._open_inference, method, rest)
            case "GET", ["v1", "models"]:
                return 200, {"models": self._open_inference.names()}
            case "GET", ["v1", "models", name]:
                return 200, {"name": name, "ready": self._open_inference.is_model_ready(name, None)}
            case _ if not self._manages:
                raise NoSuchPath(_NO_SUCH_PATH)
            case _, ["token"] if self._keys is not None:
                self._keys.renew(dict(reversed(exchange.query)).get("type"))
                return 200, None
            case _, ["models"]:
                return self._models.models(exchange)
            case _, ["models", name, version, "set-default"]:
                return self._models.set_default(exchange, name, version)
            case _, ["models", name, "traffic"]:
                return self._models.traffic(exchange, name)
            case _, ["models", name, *rest] if len(rest) <= 1:
                return self._models.model(exchange, name, rest[0] if rest else None)
            case _:
                raise NoSuchPath(_NO_SUCH_PATH)
