"""`persia-launcher replay`: what it reads, prints and exits with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from persia.receipts.kept import MAGIC, encoded, write_kept
from persia.receipts.receipt import KeptAnswer
from persia.replay.command import replay
from persia.torchserve.scores import encode_scores
from tests.support.kept_answers import BATCHES, CHECKPOINT, CONFIG, MODEL, HandlerOf, Shards, Trainer, store_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning"),  # of watchdog
]


class Scene:
    """A directory with packets, a store, and answers of epochs 1 and 2."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        packets, store = directory / "packets", store_of(directory / "store", "1.0")
        trainer = Trainer(packets)
        self.kept: list[KeptAnswer] = []
        with ExitStack() as stack:
            shards = stack.enter_context(Shards(packets, 2))
            handler = stack.enter_context(HandlerOf(store / f"{MODEL}-1.0.mar", shards.addresses))

            def keep(epoch: int) -> None:
                shards.wait_for_epoch(epoch)
                self.kept.extend(handler.kept(batch, min_epoch=epoch) for batch in BATCHES[:3])

            keep(trainer.newest)
            keep(trainer.commit()[0])
        self.global_config = directory / "global_config.yml"
        servers = {"enable_incremental_update": True, "incremental_dir": str(packets), "enable_epochs": True}
        configured = {
            "common_config": {"infer_config": {"embedding_checkpoint": str(CHECKPOINT)}},
            "embedding_parameter_server_config": servers,
        }
        self.global_config.write_text(yaml.safe_dump(configured))
        (directory / "kept").mkdir()
        write_kept(directory / "kept" / "all.kept", self.kept)

    def run(self, *arguments: object) -> Result:
        given = ["--global-config", self.global_config, *arguments, "--embedding-config", CONFIG]
        given += ["--model-store", self.directory / "store"]
        return CliRunner().invoke(replay, [*map(str, given)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    yield Scene(tmp_path_factory.mktemp("scene"))


def wrong(kept: KeptAnswer) -> KeptAnswer:
    """As if another number had been answered."""
    scores = kept.scores.copy()
    scores[1] += 0.125
    return replace(kept, receipt=msgspec.structs.replace(kept.receipt, scores=encode_scores(scores)))


def test_a_directory_of_answers_is_replayed_with_what_the_config_names(scene: Scene) -> None:
    result = scene.run(scene.directory / "kept")
    assert (result.exit_code, result.stdout) == (0, "6 answers: 6 are the same to the byte, 0 differ, 0 cannot be made\n")


def test_a_receipt_and_its_batch_may_be_files_of_their_own(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_bytes(scene.kept[4].receipt.to_bytes())
    (tmp_path / "batch.bin").write_bytes(scene.kept[4].batch)
    result = scene.run(tmp_path / "receipt.json", "--batch", tmp_path / "batch.bin")
    assert result.exit_code == 0 and result.stdout.startswith("1 answers: 1 are the same to the byte")
    result = scene.run(tmp_path / "receipt.json")
    assert result.exit_code == 1 and "together with --batch" in result.stderr
    result = scene.run(scene.directory / "kept" / "all.kept", "--batch", tmp_path / "batch.bin")
    assert result.exit_code == 1 and "leave --batch out" in result.stderr
    (tmp_path / "batch.bin").write_bytes(b"another")
    result = scene.run(tmp_path / "receipt.json", "--batch", tmp_path / "batch.bin", "--json")
    assert result.exit_code == 1 and "SHA-256" in json.loads(result.stdout)["problems"][0]["problem"]


def test_the_first_number_that_differs_is_printed(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "wrong.kept"
    write_kept(path, [scene.kept[3], wrong(scene.kept[4])])
    result = scene.run(path)
    assert result.exit_code == 1
    assert f"{path} at byte {len(MAGIC) + len(encoded(scene.kept[3]))}: output scores: 1 of " in result.stdout
    assert "first scores[1]" in result.stdout and "1 differ" in result.stdout and "by 0.125 at most" in result.stdout
    before = scene.kept[4].scores[1, 0]
    assert f": {before + np.float32(0.125)} was kept, {before} is replayed" in result.stdout


def test_what_is_missing_is_printed_beside_the_others(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "x.kept"
    receipt = msgspec.structs.replace(scene.kept[0].receipt, checkpoint="0" * 16)
    write_kept(path, [replace(scene.kept[0], receipt=receipt), scene.kept[1]])
    result = scene.run(path)
    assert result.exit_code == 1 and "the answer was made from checkpoint 0000000000000000" in result.stdout
    assert "1 are the same to the byte, 0 differ, 1 cannot be made" in result.stdout


def test_a_torn_file_says_what_was_left_out(scene: Scene, tmp_path: Path) -> None:
    whole, end = MAGIC + encoded(scene.kept[0]) + encoded(scene.kept[1]), len(MAGIC) + len(encoded(scene.kept[0]))
    torn, of_ring = tmp_path / "torn.kept", tmp_path / "0000000000001-7-0.kept"
    for path in (torn, of_ring):
        path.write_bytes(whole[:-1])
    for given in ([of_ring], [torn, "--torn-tail-ok"]):
        result = scene.run(*given)
        assert result.exit_code == 0 and "1 answers: 1 are the same" in result.stdout
        assert f"{given[0]} ends within an answer, at byte {end}" in result.stderr
    result = scene.run(torn)
    assert result.exit_code == 1 and "1 answers: 1 are the same" in result.stdout
    assert f"{torn} at byte {end}: expected whole answers" in result.stdout and "--torn-tail-ok" in result.stdout
    assert "1 files are damaged" in result.stdout


def test_what_a_receipt_says_and_the_replay_does_not_is_printed(scene: Scene, tmp_path: Path) -> None:
    changes = {"model_version": "9.9", "release": "0.0.1", "features": {**scene.kept[0].receipt.features, "more": (1, 0, 0, 0)}}
    receipt = msgspec.structs.replace(scene.kept[0].receipt, **changes)
    write_kept(tmp_path / "x.kept", [replace(scene.kept[0], receipt=receipt), scene.kept[1]])
    result = scene.run(tmp_path)
    assert result.exit_code == 0 and "2 are the same to the byte" in result.stdout
    assert "release 0.0.1 was kept, 0.1.0 has replayed it; model_version 9.9 was kept, 1.0 has replayed it" in result.stdout
    assert "more were kept" in result.stdout and "1 receipts say what the replay does not confirm" in result.stdout
    told = json.loads(scene.run(tmp_path, "--json").stdout)
    assert told["remarked"] == 1 and len(told["remarks"][0]["remarks"]) == 3
    assert json.loads(scene.run(tmp_path, "--json", "--against-epoch", 2).stdout)["remarked"] == 0


def test_the_directory_of_archives_is_asked_for_by_its_option(scene: Scene) -> None:
    given = ["--global-config", scene.global_config, "--embedding-config", CONFIG, scene.directory / "kept"]
    result = CliRunner().invoke(replay, [*map(str, given)])
    assert result.exit_code == 1 and "give it with --model-store or --archive" in result.stdout


def test_torchserve_says_nothing_of_its_own(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    assert scene.run(scene.directory / "kept").exit_code == 0
    assert not [record for record in caplog.records if record.name.split(".")[0] == "ts"]


def test_a_damaged_file_is_a_problem_beside_the_others(scene: Scene, tmp_path: Path) -> None:
    whole = MAGIC + encoded(scene.kept[0]) + encoded(scene.kept[1])
    (tmp_path / "a.kept").write_bytes(b"x" + whole[1:])
    (tmp_path / "b.kept").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (tmp_path / "c.kept").mkdir()
    write_kept(tmp_path / "d.kept", scene.kept[:2])
    result = scene.run(tmp_path, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and (told["answers"], told["same"], told["damaged_files"]) == (3, 3, 3)
    assert [Path(problem["place"]).name for problem in told["problems"]] == ["a.kept", "b.kept", "c.kept"]


def test_no_answers_are_no_success(scene: Scene, tmp_path: Path) -> None:
    write_kept(tmp_path / "a.kept", [])
    result = scene.run(tmp_path, "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["answers"] == 0
    assert f"no answer was read from {tmp_path}" in result.stderr


def test_a_candidate_differs_without_being_wrong_unless_a_limit_is_given(scene: Scene) -> None:
    result = scene.run(scene.directory / "kept", "--against-epoch", 2, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0 and told["answers"] == 6 and told["same"] == 3 and told["different"] == 3
    assert told["largest"] >= told["mean"] > 0 and len(told["worst"]) == 3
    assert scene.run(scene.directory / "kept", "--against-epoch", 2, "--at-most", 0).exit_code == 1
    assert scene.run(scene.directory / "kept", "--against-epoch", 2, "--at-most", 1).exit_code == 0
    own = scene.directory / "store" / f"{MODEL}-1.0.mar"
    assert scene.run(scene.directory / "kept", "--against", own, "--at-most", 0).exit_code == 0


def test_a_directory_without_answers_is_an_error(scene: Scene, tmp_path: Path) -> None:
    result = scene.run(tmp_path)
    assert result.exit_code == 1 and "no files of kept answers" in result.stderr


def test_what_lies_in_a_store_has_to_be_copied(scene: Scene, tmp_path: Path) -> None:
    config = tmp_path / "global_config.yml"
    config.write_text(scene.global_config.read_text().replace(str(CHECKPOINT), "s3://bucket/ckpt"))
    result = scene.run(scene.directory / "kept", "--global-config", config)
    assert result.exit_code == 1 and "s3://bucket/ckpt is in a store" in result.stderr and "--checkpoint" in result.stderr
