"""What is sent to helm, and when a deployment counts as ready."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster.release import is_rolled_out, merged

STATUS = {"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


def test_values_are_put_together_as_helm_does() -> None:
    before = {"image": {"tag": "1", "repository": "a"}, "epochs": True, "volumes": [1]}
    assert merged(before, {"image": {"tag": "2"}, "volumes": [2]}) == {
        "image": {"tag": "2", "repository": "a"},
        "epochs": True,
        "volumes": [2],
    }
    assert before["image"] == {"tag": "1", "repository": "a"}


@pytest.mark.parametrize(
    ("change", "ready"),
    [
        ({}, True),
        ({"observedGeneration": 3}, False),  # the controller has not seen the newest values
        ({"replicas": 3}, False),  # one of the earlier values is left
        ({"updatedReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        ({"availableReplicas": 0}, False),
    ],
)
def test_a_deployment_is_ready_when_all_of_its_pods_are(change: dict[str, Any], ready: bool) -> None:
    assert is_rolled_out({"generation": 4}, {"replicas": 2}, STATUS | change) == ready
