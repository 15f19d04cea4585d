"""Ways to get wrong scores (docs/wrong-scores.md): ids become signs in another way in requests than in the table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, PersiaBatch
from persia.errors import InvalidInput
from persia.signs import farmhash64, signs_of
from tests.support.checks import CONFIG, SAMPLES, Files, Ids, parse, table_ids

USER = parse(CONFIG).slots["user"]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write()
    return files


def told(files: Files, pattern: str) -> None:
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    assert any(re.search(pattern, text) for text in checked.of("fail")), checked.of("fail")


def by_samples(ids: Ids) -> list[Ids]:
    return list(ids[: 2 * SAMPLES].reshape(SAMPLES, 2))


def test_way_16_a_table_written_with_ids_as_signs(files: Files) -> None:
    files.write_table(signs={"user": table_ids()["user"]})
    told(
        files, r"^sample user: 0 of .*100% have one with the ids themselves as signs: .* -> write rows with the feature's name"
    )
    told_all = files.check("--middleware-port", "0").of("warn")
    assert any("200 rows have signs without any group's prefix" in text for text in told_all)


def test_way_17_a_table_written_with_signs_as_ids(files: Files) -> None:
    files.write_table(signs={"user": signs_of(signs_of(table_ids()["user"], USER)[0], USER)[0]})
    told(files, r"^sample user: 0 of .*100% have one with the prefix added twice")


def test_way_18_requests_with_signs_as_ids(files: Files) -> None:
    # In a table of counted ids the sign of another id has a row, too: every lookup finds one, and all are wrong.
    tags = parse(CONFIG).slots["tags"]
    ids = np.arange(2 * SAMPLES, dtype=np.uint64)
    files.write_sample({**files.ids(), "tags": by_samples(signs_of(ids, tags)[0])})
    told(files, r"^sample tags: 32 of 32 distinct ids have a row .* its ids have the group's prefix already: they are signs")


def test_way_19_negative_ids_of_a_table_that_has_positive_ones(files: Files) -> None:
    files.write_sample({**files.ids(), "user": by_samples(~table_ids()["user"] + np.uint64(1))})
    told(files, r"^sample user: 0 of .*with the sign dropped")


def test_way_20_ids_that_the_table_has_cut_to_32_bits(files: Files) -> None:
    ids = table_ids()
    files.write_table(ids | {"user": ids["user"] & np.uint64(0xFFFF_FFFF)})
    told(files, r"^sample user: 0 of .*with the lower 32 bits of the ids")
    signed = (ids["user"] | np.uint64(1 << 31)).astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64)
    files.write_table(ids | {"user": signed})
    files.write_sample({**files.ids(), "user": by_samples(ids["user"] | np.uint64(1 << 31))})
    told(files, r"^sample user: 0 of .*with the lower 32 bits as a signed number")


def test_way_21_ids_that_went_through_floats(files: Files) -> None:
    ids = table_ids()
    rounded = np.nextafter(ids["city"].astype(np.float64), 0.0).astype(np.uint64)
    files.write_sample({**files.ids(), "city": by_samples(rounded)})
    told(files, r"^sample city: 0 of .*its ids have lost their last bits, as in a float64")
    files.write_table(ids | {"city": ids["city"].astype(np.float64).astype(np.uint64)})
    files.write_sample(files.ids())
    told(files, r"^sample city: 0 of .*after a way through floats")


@pytest.mark.parametrize("kind", [IDTypeFeatureWithSingleID, IDTypeFeature])
def test_way_22_floats_as_ids(kind: type) -> None:
    ids = np.array([1.0, 2.0]) if kind is IDTypeFeatureWithSingleID else [np.array([1.0]), np.array([2.0])]
    with pytest.raises((InvalidInput, TypeError), match="user"):
        PersiaBatch([kind("user", ids)], requires_grad=False).to_bytes()


def test_way_23_another_hash_of_strings(files: Files) -> None:
    other = farmhash64(table_ids()["city"] ^ np.uint64(0x5555_5555_5555_5555))
    files.write_sample({**files.ids(), "city": by_samples(other)})
    told(files, r"^sample city: 0 of .* -> its ids look like hashes: is it another hash, or are other bytes hashed")


def test_way_24_ids_hashed_that_the_table_has_plain(files: Files) -> None:
    ids = table_ids()
    files.write_table(ids | {"user": farmhash64(ids["user"])})
    told(files, r"^sample user: 0 of .*after FarmHash of the id")


def test_way_25_ids_of_another_feature(files: Files) -> None:
    ids = files.ids()
    files.write_sample({**ids, "user": ids["item"], "item": ids["user"]})
    told(files, r"^sample user: 0 of .*as ids of item -> are user and item swapped in the request")


def test_way_26_ids_with_reversed_bytes(files: Files) -> None:
    files.write_sample({**files.ids(), "user": by_samples(table_ids()["user"].byteswap())})
    told(files, r"^sample user: 0 of .*with the bytes reversed")
