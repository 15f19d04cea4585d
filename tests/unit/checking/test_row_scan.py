"""scan_rows, against the same in plain Python; and archives with any byte changed, which are read or refused by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia import _core
from persia.checking.scan import _NOTHING, Rows, Scan, _add, scan
from persia.errors import CorruptFile, InvalidInput
from persia.formats.sign_files import write_sign_file
from persia.torchserve.archive.contents import open_archive
from tests.support.check_archives import add_archive
from tests.support.checks import CONFIG, Files
from tests.support.examples import examples

SIGNS = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20), st.integers(0, 9).map(lambda group: (group << 56) + 3))
BLOCKS = st.lists(st.tuples(st.integers(1, 5), st.lists(SIGNS, unique=True, max_size=30)), max_size=4)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(blocks=BLOCKS, bits=st.integers(1, 63), groups=st.integers(0, 12), packet=st.booleans(), data=st.data())
def test_rows_are_counted_as_in_python(
    tmp_path: Path, blocks: list[tuple[int, list[int]]], bits: int, groups: int, packet: bool, data: st.DataObject
) -> None:
    seen: set[int] = set()
    content = []
    for dim, block in blocks:
        signs = [sign for sign in block if sign not in seen]
        seen.update(signs)
        rows = np.arange(len(signs) * dim, dtype=np.float32).reshape(len(signs), dim)
        rows[[sign % 3 == 0 for sign in signs]] = np.inf
        content.append((np.array(signs, np.uint64), rows))
    path = tmp_path / "rows"
    path.unlink(missing_ok=True)
    if packet:
        _core.write_inc(path, content, 1)
    else:
        _core.write_emb(path, content)
    wanted = sorted(data.draw(st.sets(SIGNS | st.sampled_from(sorted(seen) or [0]))))

    rows_read, whole, counts, found, dims, values, strays = _core.scan_rows(
        path, packet=packet, prefix_bits=bits, groups=groups, wanted=np.array(wanted, np.uint64), seconds=60.0
    )

    def group(sign: int) -> int:
        return min(sign >> (64 - bits), groups + 1)

    by_group = Counter((group(int(sign)), rows.shape[1]) for signs, rows in content for sign in signs)
    assert (rows_read, whole) == (len(seen), True)
    assert {(at, dim): rows for at, dim, rows, _, _ in counts} == dict(by_group)
    assert sum(bad for *_, bad, _ in counts) == sum(sign % 3 == 0 for sign in seen)
    for at, dim, _, _, largest in counts:
        of_group = [int(sign) for signs, rows in content if rows.shape[1] == dim for sign in signs if group(int(sign)) == at]
        assert largest == max(sign & ((1 << (64 - bits)) - 1) for sign in of_group)
    want = {int(sign): row for signs, rows in content for sign, row in zip(signs, rows, strict=True) if int(sign) in wanted}
    assert found.tolist() == [int(sign) for signs, _ in content for sign in signs if int(sign) in want]
    got = dict(zip(found.tolist(), np.split(values, np.cumsum(dims)[:-1]) if len(dims) else [], strict=True))
    assert all(np.array_equal(got[sign], row) for sign, row in want.items())
    assert set(strays.tolist()) == {sign for sign in seen if not 1 <= group(sign) <= groups}


def test_of_several_rows_of_a_sign_the_last_one_counts() -> None:
    def part(signs: list[int], value: float, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        dims = np.full(len(signs), dim, np.uint32)
        return np.array(signs, np.uint64), dims, np.full(len(signs) * dim, value, np.float32)

    rows = Rows.of([part([5, 3], 1.0, 2), part([9], 4.0, 1), part([3], 2.0, 2)])
    assert rows.signs.tolist() == [3, 5, 9]
    signs, values = rows.of_dim(2)
    assert (signs.tolist(), values.tolist()) == ([3, 5], [[2.0, 2.0], [1.0, 1.0]])
    assert rows.have(np.array([[3, 4], [9, 5]], np.uint64)).tolist() == [[True, False], [True, True]]


def test_wanted_signs_ascend(tmp_path: Path) -> None:
    _core.write_emb(tmp_path / "rows", [])
    with pytest.raises(InvalidInput, match="ascending"):
        _core.scan_rows(
            tmp_path / "rows", packet=False, prefix_bits=8, groups=1, wanted=np.array([2, 1], np.uint64), seconds=1.0
        )


def test_newer_packets_win_over_the_checkpoint(tmp_path: Path) -> None:
    sign = np.array([(1 << 56) + 1], np.uint64)
    _core.write_emb(tmp_path / "a.emb", [(sign, np.ones((1, 2), np.float32))])
    for i in (1, 2):
        _core.write_inc(tmp_path / f"{i}.inc", [(sign, np.full((1, 2), 10.0 * i, np.float32))], i)
    packets = [[tmp_path / "1.inc"], [tmp_path / "2.inc"]]
    seen = scan([tmp_path / "a.emb"], packets, 8, 1, sign, 60.0, 2)
    assert (seen.rows, seen.total, seen.whole, seen.packets) == (1, 1, True, 2)
    assert seen.found.of_dim(2)[1].tolist() == [[20.0, 20.0]]


def test_deleted_and_ended_rows_are_absent_until_they_are_put_again(tmp_path: Path) -> None:
    signs = np.arange(1 << 56, (1 << 56) + 4, dtype=np.uint64)
    _core.write_emb(tmp_path / "a.emb", [(signs, np.ones((4, 2), np.float32))])
    _core.write_inc(tmp_path / "1.inc", [(signs[2:3], np.ones((1, 2), np.float32))], 1)
    write_sign_file(tmp_path / "1.del", signs[:2], 1)
    late = np.array([1, 1], np.uint64)
    write_sign_file(tmp_path / "1.ttl", signs[2:], 1, late)  # of signs[3] it has no row: that is passed over
    _core.write_inc(tmp_path / "2.inc", [(signs[:1], np.full((1, 2), 7.0, np.float32))], 2)
    packets = [[tmp_path / "1.inc", tmp_path / "1.del", tmp_path / "1.ttl"], [tmp_path / "2.inc"]]
    seen = scan([tmp_path / "a.emb"], packets, 8, 1, signs, 60.0, 2)
    assert seen.found.signs.tolist() == [signs[0], signs[3]]
    assert (seen.found.of_dim(2)[1].tolist(), seen.exact) == ([[7.0, 7.0], [1.0, 1.0]], False)
    write_sign_file(tmp_path / "a.ttl", signs, 1, np.array([1, 1, 1, 1 << 40], np.uint64))
    seen = scan([tmp_path / "a.emb", tmp_path / "a.ttl"], [], 8, 1, signs, 60.0, 2)
    assert (seen.found.signs.tolist(), seen.total, seen.rows) == ([signs[3]], 4, 4)


def test_only_files_that_were_read_to_their_end_are_a_fair_sample(tmp_path: Path) -> None:
    _core.write_emb(tmp_path / "a.emb", [(np.arange(4, dtype=np.uint64), np.ones((4, 2), np.float32))])
    none = np.zeros(0, np.uint64)
    assert scan([tmp_path / "a.emb"], [], 8, 1, none, 60.0, 2).share == 1.0
    assert scan([tmp_path / "a.emb"], [], 8, 1, none, 0.0, 2).share == 0.0
    seen = Scan(1, total=100)
    for rows, whole in ((40, True), (20, False)):
        _add(seen, {}, (rows, whole, [], *_NOTHING), [])
    assert (seen.rows, seen.fair, seen.share) == (60, 40, 0.4)
    assert Scan(1, rows=60, fair=40, total=100, whole=False).share == 0.4


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return add_archive(Files(tmp_path_factory.mktemp("archive")), CONFIG).read_bytes()


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_an_archive_with_any_byte_changed_is_read_or_refused_by_name(
    tmp_path: Path, archive: bytes, data: st.DataObject
) -> None:
    path = tmp_path / "any.mar"
    at = data.draw(st.one_of(st.integers(0, len(archive) - 1), st.integers(len(archive) - 700, len(archive) - 1)))
    path.write_bytes(archive[:at] + bytes([archive[at] ^ data.draw(st.integers(1, 255))]) + archive[at + 1 :])
    try:
        assert open_archive(path).name
    except CorruptFile as error:
        assert str(path) in str(error)
