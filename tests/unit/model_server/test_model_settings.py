"""What a version is served with, by who says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from persia.model_server.archives import Archive
from persia.model_server.devices import Devices
from persia.model_server.model_config import ModelConfig
from persia.model_server.model_settings import ModelSettings, settle
from persia.model_server.refusals import ArchiveUnreadable
from persia.model_server.registration import Registration, ServerDefaults


def settled(config: dict[str, Any], per_model: dict[str, Any] | None = None, gpus: int = 0, **wanted: Any) -> ModelSettings:
    archive = Archive(Path("m"), "m.mar", "m", "1.0", "h.py", "python", None, config)
    defaults = ServerDefaults(per_model={"m": {"1.0": per_model or {}}}, gpus=gpus, default_workers=3)
    return settle("m", archive, ModelConfig.of(config), Registration("m.mar", **wanted), defaults)


def test_batches_go_by_the_registration_then_the_archive_then_the_server() -> None:
    assert settled({"batchSize": 2}, {"batchSize": 3}, batch_size=4).batch_size == 4
    assert settled({"batchSize": 2}, {"batchSize": 3}).batch_size == 2
    assert settled({}, {"batchSize": 3}).batch_size == 3
    assert (settled({}).batch_size, settled({}).max_batch_delay) == (1, 100)


def test_timeouts_go_by_the_archive_then_the_server_then_the_registration() -> None:
    assert settled({"responseTimeout": 2}, {"responseTimeout": 3}, response_timeout=4).response_timeout == 2
    assert settled({"batchSize": 2}, {"responseTimeout": 3}, response_timeout=4).response_timeout == 120
    assert settled({}, {"responseTimeout": 3}, response_timeout=4).response_timeout == 3
    assert settled({}, response_timeout=4).response_timeout == 4


def test_workers() -> None:
    def workers(config: dict[str, Any], per_model: dict[str, Any] | None = None, **wanted: Any) -> tuple[int, int]:
        found = settled(config, per_model, **wanted)
        return found.min_workers, found.max_workers

    assert workers({"minWorkers": 1, "maxWorkers": 2}, initial_workers=5) == (1, 2)
    assert workers({"minWorkers": 3, "maxWorkers": 2}, initial_workers=5) == (5, 5)
    assert workers({}) == (3, 3) and workers({}, initial_workers=0) == (0, 0)
    assert workers({}, {"minWorkers": 2, "maxWorkers": 4}, at_start=True) == (2, 4)
    assert workers({"minWorkers": 1, "maxWorkers": 2}, workers=(0, 6)) == (0, 6)


def test_values_that_are_wrong_count_as_left_out_and_are_told() -> None:
    config = ModelConfig.of({"batchSize": "four", "useVenv": 1, "minWorker": 2, "handler": {"a": 1}, "deviceIds": ["0"]})
    assert config.number("batchSize") is None and not config.flag("useVenv") and config.device_ids == ()
    assert config.notes == (
        "batchSize of model-config.yaml has no effect: expected a whole number that is not below 0, got 'four'",
        "useVenv of model-config.yaml has no effect: expected true or false, got 1",
        "minWorker of model-config.yaml has no effect: did you mean minWorkers?",
        "deviceIds of model-config.yaml has no effect: expected a list of numbers, got ['0']",
    )


@pytest.mark.parametrize(
    "config",
    [{"parallelType": "pp"}, {"torchrun": {"nproc-per-node": 2}}, {"continuousBatching": True}, {"sequenceBatching": True}],
)
def test_what_cannot_be_served_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ArchiveUnreadable, match=f"model-config.yaml asks for {next(iter(config))}"):
        ModelConfig.of(config)


def test_gpus_are_given_in_turn() -> None:
    devices = Devices(3)
    assert [devices.next("gpu", ()) for _ in range(4)] == [0, 1, 2, 0]
    assert [devices.next("gpu", (5, 7)) for _ in range(3)] == [5, 7, 5]
    assert devices.next("gpu", ()) == 1 and devices.next("cpu", ()) is None and Devices(0).next("gpu", ()) is None


def test_a_model_is_on_gpus_where_there_are_some_and_it_does_not_object() -> None:
    assert settled({}).device_type == "cpu" and settled({"deviceType": "gpu"}).device_type == "cpu"
    assert settled({}, gpus=2).device_type == "gpu" and settled({"deviceType": "cpu"}, gpus=2).device_type == "cpu"
