"""What `persia-launcher up` makes of the arguments that go to TorchServe, and which ports the metrics get."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.deployment.targets import TARGETS_FILE, metrics_ports, write_targets
from persia.errors import InvalidInput
from persia.torchserve.run.command import DRAIN_SECONDS, read_arguments


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], DRAIN_SECONDS),
        (["--drain", "120"], 120.0),
        (["--workers", "2", "--drain=0.5", "--no-tokens"], 0.5),
        (["--drain", "1", "--drain", "2"], 2.0),
        (["--drain", "soon"], DRAIN_SECONDS),  # which the launcher refuses
        (["--state", "a --drain 7"], DRAIN_SECONDS),
    ],
)
def test_torchserve_gets_the_time_to_drain_that_it_is_told_to_take(arguments: list[str], seconds: float) -> None:
    assert read_arguments(arguments).drain_seconds == seconds


def allotted(state: Path, *names: str, base: int | None = None, taken: int = 0) -> dict[str, int]:
    return metrics_ports(names, base, state, lambda count: list(range(100, 100 + count)), lambda port: port != taken)


def test_a_process_keeps_its_port_for_metrics_whoever_comes_beside_it(tmp_path: Path) -> None:
    first = allotted(tmp_path, "a", "b")
    assert first == {"a": 100, "b": 101}
    write_targets(tmp_path, {name: f"127.0.0.1:{port}" for name, port in first.items()}, {})
    assert allotted(tmp_path, "new", "b", "a") == {"a": 100, "b": 101, "new": 102}
    assert allotted(tmp_path, "b") == {"b": 101}
    assert allotted(tmp_path, "a", "b", taken=100)["b"] == 101
    assert allotted(tmp_path, "a", "b", base=9090) == {"a": 9090, "b": 9091}


def test_ports_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a --metrics-port-base with 2 ports from it on, got 65535"):
        allotted(tmp_path, "a", "b", base=65_535)


@given(st.binary(max_size=100) | st.sampled_from([b"[{}]", b'[{"targets": ["x:y"], "labels": {"process": "a"}}]', b"[7]"]))
def test_targets_that_cannot_be_understood_are_no_obstacle(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    state = tmp_path_factory.getbasetemp()
    (state / TARGETS_FILE).write_bytes(content)
    assert allotted(state, "a", "b") == {"a": 100, "b": 101}
