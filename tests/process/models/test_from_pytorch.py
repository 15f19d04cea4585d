"""The whole way of a user who has a plain PyTorch model, by the functions of examples/from_pytorch: every score is compared.

The tests are the steps of one journey, in order: each goes on with the model that the one before has left.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

from persia.client.predict import Client
from persia.export import Export
from tests.support.places import ROOT

pytestmark = pytest.mark.whole_way

EXAMPLE = ROOT / "examples" / "from_pytorch"


class Journey(ExitStack):
    """What the steps share. `walk` is the example's module; all that was started ends with the `with`."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        sys.path.insert(0, str(EXAMPLE))
        self.walk: Any = importlib.import_module("walk")
        sys.path.remove(str(EXAMPLE))
        self.directory = directory
        # Sockets need a shorter path than pytest's.
        self.state = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="up-")))
        self.model = self.walk.Model()
        self.walk.train(self.model, steps=60, seed=1)
        self.first: Export = self.walk.export(self.model, directory / "first", "1.0")
        self.samples = self.walk.make_samples(200, seed=99)
        self.blue: Any = None

    def client(self) -> Client:
        """Of the first deployment, which the first step that needs it starts."""
        if self.blue is None:
            self.blue = self.enter_context(self.walk.Up(self.first, self.state / "1"))
            self.blue.wait_ready()
        client: Client = self.enter_context(self.blue.client())
        return client

    @cached_property
    def second(self) -> tuple[Any, Export]:
        """Another version of the model, and its export."""
        newer = self.walk.Model(with_device=True)
        self.walk.train(newer, steps=60, seed=2)
        return newer, self.walk.export(newer, self.directory / "second", "2.0")

    def is_served(self) -> None:
        """Waits until the first deployment answers with the model's own scores."""
        assert self.walk.serve_equal(self.client(), self.model, self.samples) < self.walk.CLOSE


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    threads = torch.get_num_threads()
    with Journey(tmp_path_factory.mktemp("journey")) as started:
        yield started
    torch.set_num_threads(threads)
    for path in EXAMPLE.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_the_export_is_proved_and_the_check_finds_nothing_wrong(journey: Journey) -> None:
    assert journey.first.proof.samples == 64 and journey.first.proof.difference < journey.walk.CLOSE
    assert journey.walk.check(journey.first)


def test_the_served_scores_are_the_models_own(journey: Journey) -> None:
    journey.is_served()


def test_packets_lead_to_the_scores_of_the_model_that_was_trained_further(journey: Journey) -> None:
    journey.is_served()
    before = journey.walk.own_scores(journey.model, journey.samples)
    assert journey.walk.train_online(journey.model, journey.first) > 400
    moved = journey.walk.difference(journey.walk.own_scores(journey.model, journey.samples), before)
    assert moved > 10 * journey.walk.CLOSE  # or the next line would show nothing
    journey.is_served()


def test_a_user_who_is_forgotten_is_served_as_zeros(journey: Journey) -> None:
    journey.is_served()
    user = journey.samples.user[0]
    theirs = [i for i, other in enumerate(journey.samples.user) if other == user]
    before = journey.walk.own_scores(journey.model, journey.samples)[theirs]
    journey.walk.forget(journey.model, journey.first, user)
    after = journey.walk.own_scores(journey.model, journey.samples)[theirs]
    assert journey.walk.difference(after, before) > 2 * journey.walk.CLOSE
    journey.is_served()


def test_a_second_version_has_a_new_feature(journey: Journey) -> None:
    _, second = journey.second
    assert second.proof.difference < journey.walk.CLOSE
    assert second.rows.keys() - journey.first.rows.keys() == {"device"}


def test_callers_move_to_the_second_version_and_no_request_is_lost(journey: Journey) -> None:
    walk, old, samples = journey.walk, journey.client(), journey.samples
    newer, second = journey.second
    with walk.Caller(old, walk.request(journey.model, samples)) as caller, walk.Up(second, journey.state / "2") as green:
        new = green.wait_ready().client()
        assert walk.serve_equal(new, newer, samples) < walk.CLOSE
        assert caller.answered is old
        caller.move(new, walk.request(newer, samples))
        journey.blue.stop()
        answers = caller.answers
        walk.wait_until(lambda: caller.errors or caller.answers > answers)  # the second deployment stands alone now
        caller.stop()
        new.close()
    assert caller.errors == []
