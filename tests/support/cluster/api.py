"""What the API server says, and little that it is told: whatever a user would do, helm and kubectl do."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.support.cluster.machines import SWITCH_ADDRESS

PORT = 6443
SERVER = f"https://{SWITCH_ADDRESS}:{PORT}"
TOKEN = "administrator-of-a-test"
KUBECONFIG = f"""\
apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "{SERVER}", insecure-skip-tls-verify: true}}}}]
users: [{{name: administrator, user: {{token: {TOKEN}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: administrator}}}}]
current-context: test
"""

LOOK_EVERY = 0.3  # seconds

Item = dict[str, Any]


def get(path: str) -> Item:
    """Raises OSError if there is no answer, or none that is good."""
    request = urllib.request.Request(f"{SERVER}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=10) as response:
        body = response.read()
    answer: Item = json.loads(body) if body.startswith(b"{") else {"text": body.decode()}
    return answer


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """As wait_until() of tests.support.servers, for what costs more to look at, and cannot be seen while much happens."""
    end, problem = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            if condition():
                return
            problem = ""
        except OSError as error:
            problem = f": {error}"
        time.sleep(LOOK_EVERY)
    raise AssertionError(f"waited {seconds:.0f} s in vain until {what}{problem}")


def items(path: str) -> list[Item]:
    found: list[Item] = get(path)["items"]
    return found


def pods(selector: str = "") -> list[Item]:
    """Those in the default namespace that a selector chooses, without those that are ending."""
    return [pod for pod in _pods(selector) if "deletionTimestamp" not in pod["metadata"]]


def ending_pods(selector: str) -> list[Item]:
    """Those that still answer what they were asked, but are of no account any more."""
    return [pod for pod in _pods(selector) if "deletionTimestamp" in pod["metadata"]]


def _pods(selector: str) -> list[Item]:
    found = items(f"/api/v1/namespaces/default/pods?labelSelector={quote(selector)}")
    return [pod for pod in found if pod["status"]["phase"] not in _ENDED]


_ENDED = ("Succeeded", "Failed")


def is_true(item: Item, condition: str) -> bool:
    """Whether a pod, a node or a deployment has a condition."""
    found = item["status"].get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in found)


def ready_nodes() -> set[str]:
    return {node["metadata"]["name"] for node in items("/api/v1/nodes") if is_true(node, "Ready")}


def is_up() -> bool:
    try:
        return bool(get("/readyz") == {"text": "ok"})
    except (OSError, urllib.error.URLError):
        return False
