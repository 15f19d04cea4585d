"""Tables under any order of changes, pins and folds, against an oracle that is a copy of two columns for each version."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from persia import _core
from tests.support.examples import examples
from tests.support.table_oracle import DIMS, STORAGES, UNIVERSE, N, Oracle, places_of, row_values

FOLD = 60.0  # seconds that no fold needs

DIM = st.sampled_from(DIMS)
# Often a few signs, sometimes hundreds: an index that grows, and lookups of many blocks.
PLACES = st.tuples(st.integers(0, N - 1), st.one_of(st.integers(0, 8), st.integers(0, 40), st.integers(0, N))).map(
    lambda slice: np.arange(slice[0], min(N, slice[0] + slice[1]))
)
CHANGES = st.lists(st.tuples(PLACES, st.one_of(st.none(), DIM)), min_size=1, max_size=3)

Changes = list[tuple[np.ndarray, int | None]]


class Tables(RuleBasedStateMachine):
    """What both machines have: a table, the changes, the pins."""

    capacity = 0

    @initialize(storage=st.sampled_from(STORAGES), first=CHANGES, capacity=st.sampled_from([1, 30, 200, 900]))
    def build(self, storage: str, first: Changes, capacity: int) -> None:
        self.storage, self.stamp = storage, 0
        self.limit = capacity if self.capacity else 0
        self.now = Oracle()
        self.pins: list[tuple[_core.Snapshot, Oracle]] = []
        builder = _core.TableBuilder(storage, self.limit)
        for places, dim in first:
            self.stamp += 1
            self.now.put(places, dim or 4, self.stamp)
            assert builder.put(UNIVERSE[places], row_values(UNIVERSE[places], self.stamp, dim or 4)) == len(places)
        self.table = _core.Table(builder)
        self.version = 0
        self.built()

    def built(self) -> None:
        raise NotImplementedError

    def change(self, changes: Changes) -> np.ndarray:
        """Publishes the changes as one layer; returns the places that it touches."""
        layer = _core.Layer(self.storage)
        for places, dim in changes:
            self.stamp += 1
            if dim is None:
                layer.add_tombstones(UNIVERSE[places])
                self.now.delete(places)
            else:
                assert layer.put(UNIVERSE[places], row_values(UNIVERSE[places], self.stamp, dim)) == len(places)
                self.now.put(places, dim, self.stamp)
        touched: np.ndarray = np.unique(np.concatenate([places for places, _ in changes]))
        assert layer.size == len(touched)
        version = self.table.publish(layer)
        assert version > self.version
        self.version = version
        return touched


class Versions(Tables):
    """No capacity: every version is exactly the one before it with its layer on top."""

    def built(self) -> None:
        assert self.table.status().version == 0

    @rule(changes=CHANGES)
    def publish(self, changes: Changes) -> None:
        before = self.version
        self.change(changes)
        assert self.version == before + 1

    @rule(changes=st.lists(CHANGES, min_size=2, max_size=14))
    def publish_more_layers_than_may_wait(self, changes: list[Changes]) -> None:
        for one in changes:
            self.publish(one)

    @rule()
    def pin(self) -> None:
        self.pins.append((self.table.pin(), self.now.copy()))
        assert self.pins[-1][0].version == self.version

    @rule(number=st.integers(0, 3))
    def unpin(self, number: int) -> None:
        del self.pins[number : number + 1]

    @rule()
    def fold(self) -> None:
        self.pins = []
        assert self.table.wait_folded(FOLD)
        status = self.table.status()
        assert (status.layers, status.layer_rows, status.fold_error) == (0, 0, None)
        assert status.base_rows == np.count_nonzero(self.now.present)

    @invariant()
    def versions_stay_as_they_are(self) -> None:
        self.now.check(self.table.pin(), self.storage)
        for snapshot, then in self.pins:
            then.check(snapshot, self.storage)
        if any(snapshot.version < self.version for snapshot, _ in self.pins):
            assert not self.table.wait_folded(0)
        assert self.table.status().version == self.version

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.fold()
            self.versions_stay_as_they_are()


class Evictions(Tables):
    """With a capacity. Lookups keep rows in use, so only what a rule asks for is looked up."""

    capacity = 1

    def built(self) -> None:
        put = int(np.count_nonzero(self.now.present))
        self.waiting: list[np.ndarray] = []  # what each layer touches that may not be folded yet
        self.settled = 0  # the version when last all was folded
        self.used = np.zeros(N, bool)  # since the last eviction
        gone = np.count_nonzero(self.lose_evicted())
        assert gone == max(0, put - self.limit) <= self.evicted  # a row that was evicted may have been put again
        self.cold = self.now.present  # what has not been used at all

    def lose_evicted(self) -> np.ndarray:
        """Takes what the table has evicted out of the oracle; returns which places these are."""
        here = np.zeros(N, bool)
        here[places_of(self.table.pin().signs())] = True
        gone = self.now.present & ~here
        self.now.delete(np.flatnonzero(gone))
        self.now.check_signs(self.table.pin())
        self.evicted = self.table.status().evicted
        return gone

    @rule(changes=CHANGES)
    def publish(self, changes: Changes) -> None:
        self.waiting.append(self.change(changes))

    @rule(places=PLACES, dim=DIM)
    def use(self, places: np.ndarray, dim: int) -> None:
        """While nothing is folded, so that nothing of it is forgotten when a part of the index grows."""
        if self.waiting:
            self.settle()
        self.table.pin().rows(UNIVERSE[places], dim)
        self.now.check(self.table.pin(), self.storage, places)
        self.used[places] = True
        self.cold[places] = False

    @rule()
    def pin(self) -> None:
        snapshot = self.table.pin()
        then = self.now.copy()
        here = np.zeros(N, bool)
        here[places_of(snapshot.signs())] = True
        assert not (here & ~then.present).any()
        then.delete(np.flatnonzero(~here))
        self.pins.append((snapshot, then))

    @rule()
    def settle(self) -> None:
        """All is folded: no row is too many, and what is gone was the right thing to go."""
        touched = np.zeros(N, bool)
        for places in self.waiting:
            touched[places] = True
        self.check_pins()
        self.pins = []
        assert self.table.wait_folded(FOLD)
        before = self.evicted
        gone = self.lose_evicted()
        status, count, evicted = self.table.status(), np.count_nonzero(gone), self.evicted - before
        assert status.base_rows == np.count_nonzero(self.now.present) <= self.limit
        assert (status.layers, status.fold_error) == (0, None)
        # A row that is evicted while a newer one of its sign waits in a layer is not gone.
        assert count <= evicted <= count + sum(map(len, self.waiting[1:]))
        published = len(self.waiting)
        assert self.version <= status.version
        assert published + (evicted > 0) <= status.version - self.settled <= published + (published if evicted else 0)
        if np.count_nonzero(self.cold & ~touched) >= evicted:
            assert not (gone & (self.used | touched)).any()
        if evicted:
            self.used[:] = False
        self.cold &= self.now.present & ~touched
        self.version = self.settled = status.version
        self.waiting = []

    def check_pins(self) -> None:
        for snapshot, then in self.pins:
            then.check(snapshot, self.storage)
            self.cold[:] = False

    @invariant()
    def a_pinned_snapshot_loses_nothing(self) -> None:
        for snapshot, then in self.pins:
            then.check_signs(snapshot)
        here = places_of(self.table.pin().signs())
        assert self.now.present[here].all()

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.settle()
            self.now.check(self.table.pin(), self.storage)


STEPS = settings(
    max_examples=examples(150), stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestVersions = Versions.TestCase
TestVersions.settings = STEPS
TestEvictions = Evictions.TestCase
TestEvictions.settings = STEPS


@pytest.mark.parametrize("storage", STORAGES)
def test_a_builder_over_its_capacity_never_holds_much_more(storage: str) -> None:
    builder = _core.TableBuilder(storage, 640)
    for begin in range(0, N, 15):
        signs = UNIVERSE[begin : begin + 15]
        builder.put(signs, row_values(signs, 1, 4))
        assert builder.rows <= 640 + 640 // 32
        assert builder.rows + builder.evicted == begin + len(signs)
    table = _core.Table(builder)
    assert (table.status().base_rows, table.status().evicted) == (640, N - 640)
    kept = Oracle()
    kept.put(places_of(table.pin().signs()), 4, 1)
    kept.check(table.pin(), storage)


def test_a_builder_keeps_what_was_used_last_in_training() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replica_0_shard_0.emb"
        _core.write_emb(path, [(UNIVERSE, row_values(UNIVERSE, 1, 4))])
        builder = _core.TableBuilder("f32", N // 4 + 50)
        builder.load_emb(path)
    snapshot = _core.Table(builder).pin()
    assert snapshot.rows(UNIVERSE[-N // 4 :], 4)[1:] == (0, 0)
    assert len(snapshot.signs()) == N // 4 + 50


def test_rows_in_use_outlive_a_stream_of_rows_that_are_not() -> None:
    """Half of the capacity is asked for all the time; the other half sees rows come and go."""
    builder = _core.TableBuilder("f32", 400)
    builder.put(UNIVERSE[:400], row_values(UNIVERSE[:400], 1, 4))
    table = _core.Table(builder)
    hot = UNIVERSE[:200]
    for begin in range(400, N, 20):
        assert table.pin().rows(hot, 4)[1:] == (0, 0)
        layer = _core.Layer()
        layer.put(UNIVERSE[begin : begin + 20], row_values(UNIVERSE[begin : begin + 20], 1, 4))
        table.publish(layer)
        assert table.wait_folded(FOLD)
    assert table.status().evicted == N - 400


@pytest.mark.parametrize("dim", DIMS)
def test_a_row_that_was_just_published_is_not_the_one_to_go(dim: int) -> None:
    """Also where it replaces a row of another dim, which nobody has used."""
    builder = _core.TableBuilder("f32", 100)
    builder.put(UNIVERSE[:100], row_values(UNIVERSE[:100], 1, 4))
    table = _core.Table(builder)
    layer = _core.Layer()
    layer.put(UNIVERSE[40:130], row_values(UNIVERSE[40:130], 2, dim))
    table.publish(layer)
    assert table.wait_folded(FOLD)
    assert table.pin().rows(UNIVERSE[40:130], dim)[1:] == (0, 0)
    assert table.status().evicted == 30
