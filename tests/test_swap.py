"""A swap keeps the number of workers, and leaves nothing behind when it fails or is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from managing import versions
from torchserves import TorchServeRun, make_archive

from client.swap import swap
from persia.torchserve import Management, Model


@pytest.fixture(scope="module")
def management(torchserve: TorchServeRun) -> Management:
    return torchserve.management()


def test_a_model_keeps_its_number_of_workers(management: Management, store: Path) -> None:
    """Although the archive says minWorkers: 1, which goes before what RegisterModel is asked for."""
    management.register(make_archive(store, "wide"))
    management.scale("wide", 2)
    checked: list[int] = []
    at_the_change: list[Model] = []

    def check(model: Model) -> None:
        checked.append(model.ready)

    def look(step: str) -> None:
        if step.startswith("wide 2.0 is the default"):
            at_the_change.append(management.default("wide"))

    new = swap(management, "wide", make_archive(store, "wide", "2.0"), drain=0, check=check, report=look)
    assert checked == [2] and new.ready == 2
    ((version, ready),) = [(model.version, model.ready) for model in at_the_change]
    assert (version, ready) == ("2.0", 2)
    assert versions(management, "wide") == [("2.0", True)]
    management.unregister("wide")
