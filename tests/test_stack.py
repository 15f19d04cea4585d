"""What `persia-launcher up` makes of the arguments that go to TorchServe."""

from __future__ import annotations

import pytest

from handlers.torchserve_command import torchserve
from persia.stack.deployment import DRAIN_SECONDS, drain_seconds


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
    assert drain_seconds(arguments) == seconds


def test_the_time_to_drain_is_the_launchers_own_unless_it_is_told() -> None:
    (drain,) = (parameter for parameter in torchserve.params if parameter.name == "drain")
    assert drain.default == DRAIN_SECONDS
