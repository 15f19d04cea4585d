"""The order of versions, as TorchServe 0.12 listed them."""

from __future__ import annotations

import pytest

from persia.model_server.java_order import java_order


@pytest.mark.parametrize(
    ("registered", "listed"),
    [
        (["1.11", "1.2.1"], ["1.2.1", "1.11"]),
        (["1.0", "2.0"], ["1.0", "2.0"]),
        (["2.0", "1.0"], ["1.0", "2.0"]),
        (["é", "\U0001f600"], ["\U0001f600", "é"]),
        ([], []),
    ],
)
def test_versions_stand_as_in_a_map_of_java(registered: list[str], listed: list[str]) -> None:
    assert java_order(registered) == listed


def test_a_map_of_many_has_more_places() -> None:
    many = [f"{number}.0" for number in range(40)]
    assert sorted(java_order(many)) == sorted(many)
    assert java_order(many) != many
