"""Kept answers are made again from files alone, to the byte; and where that cannot be, it is said why."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from persia.config import load_embedding_config
from persia.errors import CorruptFile, NotReplayable
from persia.formats.epoch import Draft
from persia.formats.epoch_history import EpochHistory, Packets
from persia.formats.epoch_log import EpochLog
from persia.formats.layout import EPOCHS, record_path
from persia.receipts.receipt import KeptAnswer, Receipt
from persia.replay.differences import Outcome, Summary
from persia.replay.replaying import Candidate, replayed
from persia.replay.sources import Sources
from persia.writers import EpochCommitter, IncrementalDumper, write_checkpoint
from tests.support.kept_answers import BATCHES, CHECKPOINT, CONFIG, MODEL, HandlerOf, Shards, Trainer, store_of
from tests.support.torchserves import PERSIA_HANDLER, make_archive

SHARDS = 2
FORMATS = ["npy", "json", "raw", "npz"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning"),  # of watchdog
]


@dataclass
class Scene:
    """Where answers were made, and the answers."""

    packets: Path
    store: Path
    kept: list[KeptAnswer]
    last_packet: Path
    reverted: int  # the epoch that goes back

    def sources(self, **changes: Any) -> Sources:
        given = {"checkpoints": [CHECKPOINT], "packets": self.packets, "store": self.store, **changes}
        return Sources(given.pop("config", load_embedding_config(CONFIG)), **given)

    def of_epoch(self, epoch: int | None) -> list[KeptAnswer]:
        return [kept for kept in self.kept if kept.receipt.epoch == epoch]


def summary_of(outcomes: Iterator[Outcome]) -> Summary:
    summary = Summary()
    for outcome in outcomes:
        summary.add(outcome)
    return summary


class Scaled(torch.nn.Module):
    """Scores that depend on all rows."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        total = dense[0][:, 0]
        for tensor in embeddings:
            total = total + tensor.float().reshape(tensor.size(0), -1).sum(1)
        return torch.sigmoid(total * self.scale)


def scaled_archive(store: Path, version: str, scale: float) -> Path:
    """An archive of another dense model than that of golden/mix."""
    model = store.with_name(f"scaled-{version}.pt")
    torch.jit.script(Scaled(scale)).save(str(model))
    return store / make_archive(store, MODEL, version, PERSIA_HANDLER, model=model)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Answers of each epoch, by two versions of the model and in all formats; the last epoch goes back to an earlier one."""
    directory = tmp_path_factory.mktemp("scene")
    packets, store = directory / "packets", store_of(directory / "store", "1.0")
    trainer, kept = Trainer(packets), list[KeptAnswer]()
    archives = [store / f"{MODEL}-1.0.mar", scaled_archive(store, "2.0", 0.1)]
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(packets, SHARDS))
        handlers = [stack.enter_context(HandlerOf(archive, shards.addresses)) for archive in archives]

        def keep(epoch: int) -> None:
            shards.wait_for_epoch(epoch)
            for number, batch in enumerate(BATCHES):
                kept.append(handlers[number % 2].kept(batch, FORMATS[number % 4], epoch))

        keep(trainer.newest)
        for _ in range(3):
            epoch, packet = trainer.commit()
            keep(epoch)
        reverted = EpochLog(packets)
        reverted.read()
        record = reverted.commit_after(epoch, Draft(revert_to=epoch - 1), "operator")
        keep(record.epoch)
    yield Scene(packets, store, kept, packet, record.epoch)


def test_answers_of_all_epochs_models_and_formats_are_the_same_to_the_byte(scene: Scene) -> None:
    summary = summary_of(replayed(scene.kept, scene.sources()))
    assert (summary.same, summary.different, summary.failed) == (len(scene.kept), [], [])
    assert len({kept.receipt.epoch for kept in scene.kept}) == 5 and len({kept.receipt.model_hash for kept in scene.kept}) == 2
    assert {kept.receipt.scores_format for kept in scene.kept} == set(FORMATS)
    assert all(kept.receipt.shards == SHARDS for kept in scene.kept)


def test_a_packet_too_few_is_seen(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that a replay is there to find, put into the replay itself."""
    packets_at: Callable[[EpochHistory, int], Packets] = EpochHistory.packets_at
    monkeypatch.setattr(EpochHistory, "packets_at", lambda self, epoch: packets_at(self, epoch - 1))
    newer = [kept for kept in scene.kept if (kept.receipt.epoch or 0) > 1]
    summary = summary_of(replayed(newer, scene.sources()))
    assert len(summary.different) > 0.9 * len(newer) and not summary.failed
    assert summary.largest > 0 and summary.worst(1)[0].largest == summary.largest
    assert "was kept" in summary.worst(1)[0].difference


@pytest.mark.parametrize("storage", ["f16", "int8"])
def test_rows_are_rounded_as_servers_keep_them(tmp_path: Path, storage: str) -> None:
    trainer, store = Trainer(tmp_path / "packets"), store_of(tmp_path / "store", "1.0")
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(tmp_path / "packets", 1, storage))
        epoch, _ = trainer.commit()
        shards.wait_for_epoch(epoch)
        handler = stack.enter_context(HandlerOf(store / f"{MODEL}-1.0.mar", shards.addresses))
        kept = [handler.kept(batch, min_epoch=epoch) for batch in BATCHES[:3]]
    sources = Sources(load_embedding_config(CONFIG), [CHECKPOINT], tmp_path / "packets", store)
    assert summary_of(replayed(kept, sources, storage)).same == len(kept)
    assert summary_of(replayed(kept, sources, "f32")).different


def test_answers_of_servers_that_follow_no_packets_need_the_checkpoint_alone(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", "1.0")
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(None, 3))
        handler = stack.enter_context(HandlerOf(store / f"{MODEL}-1.0.mar", shards.addresses))
        kept = handler.kept(BATCHES[0])
    assert kept.receipt.epoch is None
    assert summary_of(replayed([kept], Sources(load_embedding_config(CONFIG), [CHECKPOINT], None, store))).same == 1
    applied = with_receipt(kept, table_versions=(0, 4, 0))
    assert problem_of(applied, Sources(load_embedding_config(CONFIG), [CHECKPOINT], None, store)).missing == "epoch"


def test_rows_of_a_shard_that_did_not_answer_are_zeros_again(tmp_path: Path) -> None:
    store, lenient = store_of(tmp_path / "store", "1.0"), tmp_path / "global_config.yml"
    lenient.write_text("embedding_worker_config: {missing_shard: zeros, wait_for_shard_ms: 100}\n")
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(None, 2))
        archive, settings = store / f"{MODEL}-1.0.mar", {"global_config": str(lenient)}
        handler = stack.enter_context(HandlerOf(archive, shards.addresses, settings))
        whole = handler.kept(BATCHES[0])
        shards.lose(1)
        part = handler.kept(BATCHES[0])
    assert part.receipt.missing_shards == (1,) and whole.receipt.missing_shards == ()
    assert part.receipt.scores != whole.receipt.scores
    sources = Sources(load_embedding_config(CONFIG), [CHECKPOINT], None, store)
    assert summary_of(replayed([whole, part], sources)).same == 2


def test_rows_that_had_ended_when_the_answer_came_are_gone(tmp_path: Path) -> None:
    """By the receipt's time, whenever the replay is."""
    packets, store = tmp_path / "packets", store_of(tmp_path / "store", "1.0")
    committer, trainer = EpochCommitter(packets), Trainer(packets)
    signs = trainer.signs(8)
    with IncrementalDumper(packets, seconds=3600.0, embedding_config=CONFIG) as dumper:
        dumper.commit(signs, np.full((len(signs), 8), 3.0, np.float32), ttl=2000.0)
        packet = dumper.flush()
    assert packet is not None
    epoch = EpochCommitter(packets).commit([packet])
    assert epoch == committer.newest + 1
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(packets, 2))
        shards.wait_for_epoch(epoch)
        handler = stack.enter_context(HandlerOf(store / f"{MODEL}-1.0.mar", shards.addresses))
        kept = handler.kept(BATCHES[0], min_epoch=epoch)
    sources = Sources(load_embedding_config(CONFIG), [CHECKPOINT], packets, store)
    assert summary_of(replayed([kept], sources)).same == 1
    later = with_receipt(kept, unix_ms=round((time.time() + 2001) * 1000))
    (different,) = summary_of(replayed([later, kept], sources)).different
    assert "new ids were kept" in different.difference


def with_receipt(kept: KeptAnswer, **changes: Any) -> KeptAnswer:
    receipt: Receipt = msgspec.structs.replace(kept.receipt, **changes)
    return replace(kept, receipt=receipt)


def problem_of(kept: KeptAnswer, sources: Sources) -> NotReplayable:
    (outcome,) = replayed([kept], sources)
    assert isinstance(outcome.problem, NotReplayable), outcome
    return outcome.problem


def test_a_packet_that_was_deleted_is_named_and_the_others_are_made(scene: Scene) -> None:
    newest = scene.reverted - 1
    moved = scene.last_packet.rename(scene.last_packet.with_name("elsewhere"))
    try:
        summary = summary_of(replayed(scene.kept, scene.sources()))
    finally:
        moved.rename(scene.last_packet)
    assert len(summary.failed) == len(scene.of_epoch(newest)) and not summary.different
    assert summary.same == len(scene.kept) - len(summary.failed)
    problem = summary.failed[0].problem
    assert isinstance(problem, NotReplayable) and problem.missing == "packet"
    assert f"s0/{scene.last_packet.name}" in str(problem)


def test_a_packet_that_was_changed_is_corrupt(scene: Scene) -> None:
    path = next(scene.last_packet.glob("*.inc"))
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    try:
        (outcome,) = replayed(scene.of_epoch(scene.reverted - 1)[:1], scene.sources())
    finally:
        path.write_bytes(data)
    assert isinstance(outcome.problem, CorruptFile) and outcome.problem.file == str(path)


def test_a_record_that_was_edited_is_named_and_epochs_before_it_are_made(scene: Scene) -> None:
    """Also the newest one, after which there is none that knows its checksum."""
    path = record_path(scene.packets / EPOCHS, scene.reverted)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"revert_to":%d' % (scene.reverted - 2), b'"revert_to":1'))
    try:
        summary = summary_of(replayed(scene.kept, scene.sources()))
    finally:
        path.write_bytes(data)
    assert len(summary.failed) == len(scene.of_epoch(scene.reverted)) == len(scene.kept) - summary.same
    assert all(isinstance(one.problem, CorruptFile) and one.problem.file == str(path) for one in summary.failed)


def test_another_checkpoint_is_not_taken(scene: Scene, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_checkpoint(other, [(np.arange(4, dtype=np.uint64), np.zeros((4, 8), np.float32))], shards=1)
    problem = problem_of(scene.kept[0], scene.sources(checkpoints=[other]))
    assert (
        problem.missing == "checkpoint" and str(scene.kept[0].receipt.checkpoint) in str(problem) and str(other) in str(problem)
    )
    assert problem_of(scene.kept[0], scene.sources(checkpoints=[])).missing == "checkpoint"
    assert summary_of(replayed(scene.kept[:1], scene.sources(checkpoints=[other, CHECKPOINT]))).same == 1


def test_an_archive_that_is_not_in_the_store_is_named_by_its_hash(scene: Scene, tmp_path: Path) -> None:
    problem = problem_of(scene.kept[0], scene.sources(store=tmp_path))
    assert problem.missing == "archive" and scene.kept[0].receipt.model_hash in str(problem)
    archive = scene.store / f"{MODEL}-1.0.mar"
    assert summary_of(replayed(scene.kept[:1], scene.sources(store=None, archives=[archive]))).same == 1


@pytest.mark.parametrize("part", ["the dense model", "the directory"])
def test_an_archive_that_is_damaged_hinders_the_answers_of_no_other(scene: Scene, tmp_path: Path, part: str) -> None:
    good, other, bad = scene.store / f"{MODEL}-1.0.mar", scene.store / f"{MODEL}-2.0.mar", tmp_path / "bad.mar"
    data = bytearray(other.read_bytes())
    with zipfile.ZipFile(other) as opened:
        model = next(entry for entry in opened.infolist() if entry.filename.endswith(".pt"))
    in_model = model.header_offset + 30 + len(model.filename) + model.compress_size // 2  # 30: a header without its name
    data[in_model if part == "the dense model" else -1 - len(data) // 1000] ^= 0xFF
    bad.write_bytes(data)
    assert summary_of(replayed(scene.kept[:1], scene.sources(store=None, archives=[bad, good]))).same == 1
    problem = problem_of(scene.kept[0], scene.sources(store=None, archives=[bad]))
    assert problem.missing == "archive" and f"{bad.name} cannot be read" in str(problem)
    (outcome,) = replayed(scene.kept[:1], scene.sources(), candidate=Candidate(archive=bad))
    assert isinstance(outcome.problem, (NotReplayable, CorruptFile)) and str(bad) in str(outcome.problem)


def test_another_embedding_config_is_not_taken(scene: Scene, tmp_path: Path) -> None:
    other = tmp_path / "embedding_config.yml"
    other.write_text(CONFIG.read_text().replace("sample_fixed_size: 5", "sample_fixed_size: 6"))
    problem = problem_of(scene.kept[0], scene.sources(config=load_embedding_config(other)))
    assert problem.missing == "embedding_config" and scene.kept[0].receipt.embedding_config in str(problem)


def test_an_epoch_without_a_record_is_named(scene: Scene) -> None:
    problem = problem_of(with_receipt(scene.kept[0], epoch=99), scene.sources())
    assert problem.missing == "epoch" and "newest epoch is 5" in str(problem)
    assert problem_of(scene.kept[0], scene.sources(packets=None)).missing == "epoch"


def test_answers_of_variants_have_their_rows_before_the_shared_ones(tmp_path: Path) -> None:
    """Also before those of newer packets, and in an archive whose settings choose another variant."""
    packets, store = tmp_path / "packets", store_of(tmp_path / "store", "1.0", variants={"none": 1, "b": 1000})
    trainer, kept = Trainer(packets), list[KeptAnswer]()
    with ExitStack() as stack:
        shards = stack.enter_context(Shards(packets, 2))
        handler = stack.enter_context(HandlerOf(store / f"{MODEL}-1.0.mar", shards.addresses))
        for variant in ("b", "", "c", "b"):
            epoch, packet = trainer.commit(variant=variant)
            shards.wait_for_epoch(epoch)
            for asked in ("none", variant or "b"):
                kept += [handler.kept(batch, min_epoch=epoch, variant=asked) for batch in BATCHES[:3]]
    sources = Sources(load_embedding_config(CONFIG), [CHECKPOINT], packets, store)
    summary = summary_of(replayed(kept, sources))
    assert (summary.same, summary.different, summary.failed) == (len(kept), [], [])
    assert {answer.receipt.variant for answer in kept} == {"", "b", "c"}
    of_b = [answer for answer in kept if answer.receipt.variant == "b"]
    assert len(summary_of(replayed(of_b, sources, candidate=Candidate(variant=""))).different) == len(of_b)
    problem = problem_of(with_receipt(kept[0], variant="d"), sources)
    assert problem.missing == "variant" and "got d" in str(problem)
    packet.rename(packet.with_name("elsewhere"))
    assert problem_of(kept[-1], sources).missing == "packet"


def test_a_candidate_of_another_epoch_or_model_is_compared(scene: Scene) -> None:
    first, last = scene.of_epoch(1), scene.of_epoch(scene.reverted - 1)
    assert summary_of(replayed(first, scene.sources(), candidate=Candidate(epoch=scene.reverted - 1))).different
    back = summary_of(replayed(scene.of_epoch(scene.reverted), scene.sources(), candidate=Candidate(epoch=scene.reverted - 2)))
    assert back.same == len(BATCHES)  # the return has the packets of that epoch
    other = summary_of(replayed(last, scene.sources(), candidate=Candidate(archive=scene.store / f"{MODEL}-2.0.mar")))
    of_the_other = [kept for kept in last if kept.receipt.model_version == "2.0"]
    assert other.same == len(of_the_other) and len(other.different) == len(last) - other.same
    assert 0 < other.mean <= other.largest <= 1
