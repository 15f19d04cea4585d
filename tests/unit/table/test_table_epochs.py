"""Earlier epochs of a table and its variants under any order of changes, returns, folds and pins, against copies of each."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from persia import _core
from persia.errors import InvalidInput
from tests.support.examples import examples
from tests.support.table_oracle import DIMS, STORAGES, UNIVERSE, N, Oracle, row_values

FOLD = 60.0  # seconds that no fold needs

PLACES = st.tuples(st.integers(0, N - 1), st.one_of(st.integers(0, 8), st.integers(0, N))).map(
    lambda slice: np.arange(slice[0], min(N, slice[0] + slice[1]))
)
CHANGES = st.lists(st.tuples(PLACES, st.one_of(st.none(), st.sampled_from(DIMS))), max_size=3)

# What a variant says of some places: a dim and a stamp, with a dim of 0 for a deletion.
Own = dict[int, tuple[int, int]]
OWN = st.dictionaries(st.integers(0, N - 1), st.tuples(st.sampled_from([0, *DIMS]), st.just(0)), max_size=40)

Changes = list[tuple[np.ndarray, int | None]]


class Epochs(RuleBasedStateMachine):
    """Each epoch that can be read is what it was when it ended."""

    @initialize(storage=st.sampled_from(STORAGES), first=CHANGES)
    def build(self, storage: str, first: Changes) -> None:
        self.storage, self.stamp, self.epoch = storage, 0, 0
        self.rows = {0: Oracle()}
        self.own: dict[int, dict[int, Own]] = {0: {}}  # of each epoch, by the keys of variants
        self.held: list[tuple[_core.Snapshot, Oracle]] = []
        builder = _core.TableBuilder(storage)
        for places, dim in first:
            self.stamp += 1
            self.rows[0].put(places, dim or 4, self.stamp)
            builder.put(UNIVERSE[places], row_values(UNIVERSE[places], self.stamp, dim or 4))
        self.table = _core.Table(builder)

    def layer(self, changes: Changes, now: Oracle) -> _core.Layer:
        layer = _core.Layer(self.storage)
        for places, dim in changes:
            self.stamp += 1
            if dim is None:
                layer.add_tombstones(UNIVERSE[places])
                now.delete(places)
            else:
                layer.put(UNIVERSE[places], row_values(UNIVERSE[places], self.stamp, dim))
                now.put(places, dim, self.stamp)
        return layer

    @property
    def there(self) -> range:
        """The epochs that can be read."""
        return range(max(1, self.table.status().epoch_low), self.epoch + 1)

    @rule(changes=CHANGES)
    def begin(self, changes: Changes) -> None:
        now = self.rows[self.epoch].copy()
        self._begin(changes, now, self.epoch)

    def _begin(self, changes: Changes, now: Oracle, onto: int, own: dict[int, Own] | None = None) -> None:
        """own: of the variants that change."""
        layers = [(key, self._own_layer(one), key not in self.own[self.epoch]) for key, one in (own or {}).items()]
        stay = [(key, _core.Layer(self.storage), False) for key in self.own[self.epoch] if key not in (own or {})]
        self.table.begin_epoch(self.layer(changes, now), self.epoch + 1, onto, layers + stay)
        before = self.own[self.epoch]
        self.epoch += 1
        self.rows[self.epoch] = now
        self.own[self.epoch] = before | {key: before.get(key, {}) | one for key, one in (own or {}).items()}

    def _own_layer(self, own: Own) -> _core.Layer:
        layer = _core.Layer(self.storage)
        for place, (dim, stamp) in own.items():
            sign = UNIVERSE[place : place + 1]
            if dim:
                layer.put(sign, row_values(sign, stamp, dim))
            else:
                layer.add_tombstones(sign)
        return layer

    @rule(changes=CHANGES, variant=st.sampled_from([7, 9]), own=OWN)
    def change_a_variant(self, changes: Changes, variant: int, own: Own) -> None:
        self.stamp += 1
        stamped = {place: (dim, self.stamp) for place, (dim, _) in own.items()}
        self._begin(changes, self.rows[self.epoch].copy(), self.epoch, {variant: stamped})

    @rule(variant=st.sampled_from([7, 9]))
    def end_a_variant(self, variant: int) -> None:
        stay = [(key, _core.Layer(self.storage), False) for key in self.own[self.epoch] if key != variant]
        self.table.begin_epoch(_core.Layer(self.storage), self.epoch + 1, self.epoch, stay)
        self.epoch += 1
        self.rows[self.epoch] = self.rows[self.epoch - 1]
        self.own[self.epoch] = {key: own for key, own in self.own[self.epoch - 1].items() if key != variant}

    @rule(changes=st.lists(CHANGES, min_size=2, max_size=12))
    def begin_many(self, changes: list[Changes]) -> None:
        for one in changes:
            self.begin(one)

    @rule(changes=CHANGES)
    def change_within_an_epoch(self, changes: Changes) -> None:
        """As rows do whose time to live is over."""
        self.rows[self.epoch] = self.rows[self.epoch].copy()
        self.table.publish(self.layer(changes, self.rows[self.epoch]))

    @rule(changes=CHANGES, back=st.integers(0, 20))
    def go_back(self, changes: Changes, back: int) -> None:
        if not self.there:
            return
        onto = max(self.there.start, self.epoch - back)
        self._begin(changes, self.rows[onto].copy(), onto)

    @rule(back=st.integers(0, 5))
    def hold(self, back: int) -> None:
        """A snapshot of an epoch that somebody is reading."""
        epoch = max(self.there.start, self.epoch - back)
        if (snapshot := self.table.pin_epoch(epoch)) is not None and self.epoch:
            self.held.append((snapshot, self.rows[epoch]))

    @rule()
    def let_go(self) -> None:
        self.held = self.held[1:]

    @rule()
    def fold(self) -> None:
        self.held = []
        assert self.table.wait_folded(FOLD)
        status = self.table.status()
        assert (status.layers, status.fold_error) == (0, None)
        assert status.base_rows == np.count_nonzero(self.rows[self.epoch].present)

    @rule(gap=st.integers(2, 4))
    def skip_epochs(self, gap: int) -> None:
        self.table.begin_epoch(_core.Layer(self.storage), self.epoch + gap, self.epoch)
        self.rows[self.epoch + gap], self.own[self.epoch + gap] = self.rows[self.epoch], {}
        self.epoch += gap
        assert self.there == range(self.epoch, self.epoch + 1)

    @invariant()
    def epochs_are_as_they_were(self) -> None:
        self.rows[self.epoch].check(self.table.pin(), self.storage)
        for epoch in self.there:
            snapshot = self.table.pin_epoch(epoch)
            assert snapshot is not None and snapshot.epoch == epoch
            self.rows[epoch].check(snapshot, self.storage)
            self.rows[epoch].check_signs(snapshot)
            for key in (7, 9):
                assert snapshot.has_variant(key) == (key in self.own[epoch])
            for key, own in self.own[epoch].items():
                self.rows[epoch].under(own).check(snapshot, self.storage, variant=key)
        assert self.table.pin_epoch(self.there.start - 1) is None or self.there.start == 1
        assert self.table.pin_epoch(self.epoch + 1) is None
        for snapshot, rows in self.held:
            rows.check(snapshot, self.storage)

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.fold()
            self.epochs_are_as_they_were()


TestEpochs = Epochs.TestCase
TestEpochs.settings = settings(
    max_examples=examples(40), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture
def table() -> Iterator[_core.Table]:
    builder = _core.TableBuilder("f32", 0, 2)
    builder.put(UNIVERSE, row_values(UNIVERSE, 1, 4))
    yield _core.Table(builder)


def test_a_table_without_epochs_keeps_nothing(table: _core.Table) -> None:
    for stamp in range(5):
        layer = _core.Layer()
        layer.put(UNIVERSE, row_values(UNIVERSE, stamp, 4))
        table.publish(layer)
    status = table.status()
    assert (status.epoch, status.epoch_low, status.retained_epochs, status.retained_bytes) == (0, 0, 0, 0)


def test_an_epoch_goes_on_from_one_that_can_be_read(table: _core.Table) -> None:
    table.begin_epoch(_core.Layer(), 7, 0)
    for epoch, onto, said in ((7, 7, "expected an epoch after 7, got 7"), (9, 6, "one of the epochs 7 to 7, got 6")):
        layer = _core.Layer()
        with pytest.raises(InvalidInput, match=said):
            table.begin_epoch(layer, epoch, onto)
        layer.put(UNIVERSE[:1], row_values(UNIVERSE[:1], 1, 4))  # it is the caller's still
    assert table.status().epoch == 7


def test_an_epoch_without_changes_adds_no_layer(table: _core.Table) -> None:
    for epoch in range(1, 4):
        table.begin_epoch(_core.Layer(), epoch, epoch - 1)
    assert (table.status().layers, table.status().epoch, table.status().epoch_low) == (0, 3, 1)


def test_epochs_go_when_they_take_too_much_memory() -> None:
    """The limit is 64 MiB, for a small table, however many are wanted."""
    signs = np.arange(60_000, dtype=np.uint64)
    builder = _core.TableBuilder("f32", 0, 1000)
    builder.put(signs, np.zeros((len(signs), 64), np.float32))
    table = _core.Table(builder)
    for epoch in range(1, 12):
        layer = _core.Layer()
        layer.put(signs, np.full((len(signs), 64), float(epoch), np.float32))
        table.begin_epoch(layer, epoch, epoch - 1)
        assert table.wait_folded(FOLD)
        assert table.status().retained_bytes <= 64 << 20
    status = table.status()
    assert status.epochs_given_up >= 5 and status.epoch_low > 1
    for epoch in range(status.epoch_low, 12):
        snapshot = table.pin_epoch(epoch)
        assert snapshot is not None and (snapshot.rows(signs, 64)[0] == epoch).all()


def test_a_return_while_a_layer_is_folded() -> None:
    """The fold, which takes some milliseconds, then ends in a table whose oldest layer is another one than it has folded."""
    signs = np.arange(200_000, dtype=np.uint64)
    builder = _core.TableBuilder("f32", 0, 4)
    builder.put(signs, np.zeros((len(signs), 4), np.float32))
    table = _core.Table(builder)
    table.begin_epoch(_core.Layer(), 1, 0)
    for trial in range(4):
        epoch = table.status().epoch
        layer = _core.Layer()
        layer.put(signs, np.full((len(signs), 4), 1.0 + trial, np.float32))
        table.begin_epoch(layer, epoch + 1, epoch)
        before = table.status().retained_bytes
        while (now := table.status()).layers and now.retained_bytes == before:  # what the fold overwrites is not kept yet
            table.wait_folded(0.0005)
        table.begin_epoch(_core.Layer(), epoch + 2, epoch)
        assert table.wait_folded(FOLD)
        assert not table.pin().rows(signs, 4)[0].any()
        snapshot = table.pin_epoch(epoch + 1)
        assert snapshot is not None and (snapshot.rows(signs, 4)[0] == 1.0 + trial).all()
        del snapshot  # folds wait for whoever holds one


@pytest.mark.parametrize("seed", range(3))
def test_readers_of_earlier_epochs_while_epochs_begin_and_fold(seed: int) -> None:
    order = random.Random(seed)
    storage = order.choice(STORAGES)
    rows = {0: Oracle()}
    table = _core.Table(_core.TableBuilder(storage, 0, 4))
    lock, done, wrong, checked = threading.Lock(), threading.Event(), [], [0, 0]

    def read(number: int) -> None:
        choice = random.Random(number)
        while not done.is_set():
            with lock:
                epoch = choice.choice(range(max(0, max(rows) - 5), max(rows) + 1))
                expected = rows[epoch]
            if epoch == 0 or (snapshot := table.pin_epoch(epoch)) is None:
                continue
            try:
                expected.check(snapshot, storage, np.array(choice.sample(range(N), 200)))
            except AssertionError as error:
                wrong.append((epoch, error))
                return
            checked[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    for epoch in range(1, 120):
        onto = epoch - 1
        if epoch > 4 and order.random() < 0.15:
            onto = order.randrange(max(1, table.status().epoch_low), epoch)
        now, layer = rows[onto].copy(), _core.Layer(storage)
        places = np.array(order.sample(range(N), order.choice([1, 40, N // 2])))
        if order.random() < 0.25:
            now.delete(places)
            layer.add_tombstones(UNIVERSE[places])
        else:
            dim = order.choice(DIMS)
            now.put(places, dim, epoch)
            layer.put(UNIVERSE[places], row_values(UNIVERSE[places], epoch, dim))
        with lock:
            table.begin_epoch(layer, epoch, onto)
            rows[epoch] = now
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong and min(checked) > 0
    assert table.wait_folded(FOLD)
    for epoch in range(table.status().epoch_low, 120):
        snapshot = table.pin_epoch(epoch)
        assert snapshot is not None
        rows[epoch].check(snapshot, storage)
        del snapshot
