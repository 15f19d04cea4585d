"""The ring of kept answers: what is in it, how large it gets, and that nobody who answers waits for it."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from persia.receipts.kept import kept_files, read_kept
from persia.receipts.receipt import KeptAnswer, receipt_of
from persia.receipts.ring import Ring, may_be_torn
from persia.replay.command import replay
from persia.torchserve.details import Details, split_details
from tests.support.handlers_here import Counters
from tests.support.kept_answers import BATCHES, CHECKPOINT, CONFIG, MODEL, HandlerOf, Shards, Trainer, store_of
from tests.support.servers import wait_until

DETAILS = Details(
    model="ctr",
    model_version="7.0",
    model_hash="0123456789abcdef",
    table_versions=(1,),
    embedding_config="fedcba9876543210",
    release="0.1.0",
)
ROOM = 1 << 16

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning"),  # of watchdog
]


def batch(number: int) -> bytes:
    return b"%06d" % number


def numbers_in(directory: Path) -> list[int]:
    return [int(kept.batch) for file in kept_files(directory) for kept in read_kept(file.path)]


def test_answers_are_there_with_their_receipts_when_it_is_closed(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "kept", 1.0, ROOM)
    assert all(ring.wants() and ring.keep(DETAILS, batch(number), "json", b"[0.5]") for number in range(10))
    ring.close()
    ring.close()
    assert numbers_in(tmp_path / "kept") == list(range(10)) and ring.dropped == 0
    (path,) = (tmp_path / "kept").iterdir()
    answers = read_kept(path)
    assert answers[3].receipt == receipt_of(DETAILS, batch(3), "json", b"[0.5]", answers[3].receipt.unix_ms)
    assert not ring.wants() and not ring.keep(DETAILS, batch(10), "json", b"[0.5]")


def test_a_share_of_all_answers_is_wanted(tmp_path: Path) -> None:
    ring = Ring(tmp_path, 0.1, ROOM, seed=1)
    wanted = sum(ring.wants() for _ in range(10_000))
    ring.close()
    assert 900 < wanted < 1100


def test_the_oldest_go_when_the_room_is_full_whoever_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "0000000000001-1-0.kept").write_bytes(bytes(ROOM))  # of a worker of long ago
    (tmp_path / "notes.txt").write_bytes(bytes(ROOM))  # of somebody else
    ring = Ring(tmp_path, 1.0, ROOM)
    for number in range(1000):
        ring.keep(DETAILS, batch(number), "json", b"[0.5]")
    ring.close()
    there = numbers_in(tmp_path)
    assert there == list(range(1000 - len(there), 1000)) and len(there) > 50
    sizes = [path.stat().st_size for path in tmp_path.glob("*.kept")]
    assert sum(sizes) <= ROOM and max(sizes) <= ROOM // 8 and len(sizes) >= 7
    assert (tmp_path / "notes.txt").exists()


class Slow(Ring):
    """Whose disk stands still until it is let go on."""

    def __init__(self, directory: Path, waiting: int) -> None:
        self.goes_on = threading.Event()
        super().__init__(directory, 1.0, ROOM, waiting=waiting)

    def _begin_file(self, number: int) -> None:
        self.goes_on.wait()
        super()._begin_file(number)


def test_what_comes_while_writing_is_behind_is_dropped_and_counted(tmp_path: Path) -> None:
    ring = Slow(tmp_path, waiting=22)  # bytes, which is two answers
    assert [ring.keep(DETAILS, batch(number), "json", b"[0.5]") for number in range(5)] == [True, True, False, False, False]
    assert ring.dropped == 3
    ring.goes_on.set()
    ring.close()
    assert numbers_in(tmp_path) == [0, 1]


def test_an_answer_that_is_larger_than_what_may_wait_is_kept_alone(tmp_path: Path) -> None:
    ring = Slow(tmp_path, waiting=1)
    assert [ring.keep(DETAILS, batch(number), "json", b"[0.5]") for number in range(2)] == [True, False]
    ring.goes_on.set()
    ring.close()
    assert numbers_in(tmp_path) == [0]


class Full(Ring):
    """Whose disk is full."""

    def _begin_file(self, number: int) -> None:
        self._file = open("/dev/full", "wb")  # noqa: SIM115


def test_a_full_disk_ends_it_with_one_message_and_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = Full(tmp_path, 1.0, ROOM)
    ring.keep(DETAILS, batch(0), "json", b"[0.5]")
    wait_until(lambda: not ring.wants(), "it has ended")
    assert not any(ring.keep(DETAILS, batch(number), "json", b"[0.5]") for number in range(5))
    (record,) = [record for record in caplog.records if record.name == "persia.receipts.ring"]
    assert "answers are not kept any more" in record.message and "No space left" in record.message
    ring.close()


def test_a_directory_that_cannot_be_and_answers_that_cannot_be_replayed_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    no_directory, no_config = Ring(tmp_path / "file" / "kept", 1.0, ROOM), Ring(tmp_path / "kept", 1.0, ROOM)
    no_directory.keep(DETAILS, batch(0), "json", b"[0.5]")
    no_config.keep(msgspec.structs.replace(DETAILS, embedding_config=None), batch(0), "json", b"[0.5]")
    wait_until(lambda: not no_directory.wants() and not no_config.wants(), "both have ended")
    assert "Not a directory" in caplog.text and "an older middleware looked it up" in caplog.text


def test_the_last_file_of_each_process_may_be_torn(tmp_path: Path) -> None:
    last = ["0000000000001-7-0.kept", "0000000000004-7-1.kept", "0000000000002-8-0.kept"]
    followed = ["0000000000003-7-0.kept"]
    for name in [*last, *followed, "notes-7-1.kept", "x.kept"]:
        (tmp_path / name).touch()
    assert [may_be_torn(tmp_path / name) for name in [*last, *followed, "x.kept"]] == [True, True, True, False, False]


def test_what_a_handler_keeps_is_made_again_and_its_answers_are_as_without(tmp_path: Path) -> None:
    packets, store = tmp_path / "packets", store_of(tmp_path / "store", "1.0")
    trainer, ring = Trainer(packets), tmp_path / "ring"
    settings = {"kept_answers": str(ring), "kept_share": 1.0, "answer_cache_mib": 1}
    requests = [{"batch": data, "format": b"npy", "variant": b"none"} for data in BATCHES[:3]]
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(packets, 2))
        epoch, _ = trainer.commit()
        shards.wait_for_epoch(epoch)
        archive = store / f"{MODEL}-1.0.mar"
        keeping = stack.enter_context(HandlerOf(archive, shards.addresses, settings))
        plain = stack.enter_context(HandlerOf(archive, shards.addresses))
        plain.kept(BATCHES[0], min_epoch=epoch)
        keeping.kept(BATCHES[0], min_epoch=epoch)
        answers = keeping.answers(*requests)
        assert answers == plain.answers(*requests)
        keeping.handler.ring.close()
        assert keeping.answers(*requests) == answers
        plain.handler.ring, plain.context.metrics = Slow(tmp_path / "slow", 1), Counters()
        assert plain.answers(*requests) == answers
        assert plain.context.metrics == {"KeptAnswersDropped": 2}
        plain.handler.ring.goes_on.set()
        plain.handler.ring.close()
    kept: list[KeptAnswer] = [one for file in kept_files(ring) for one in read_kept(file.path)]
    assert [one.receipt.scores for one in kept[-3:]] == [split_details(answer)[1] for answer in answers]
    assert kept[-1].receipt.model_version == "1.0" and kept[-3].receipt.cached  # as the first one was asked before
    given = [
        ring,
        "--json",
        "--embedding-config",
        CONFIG,
        "--checkpoint",
        CHECKPOINT,
        "--packets",
        packets,
        "--model-store",
        store,
    ]
    told = json.loads(CliRunner().invoke(replay, [*map(str, given)]).stdout)
    assert told["same"] == told["answers"] == len(kept)
