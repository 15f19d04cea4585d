"""`persia-launcher compare`: two models on the same samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from persia.torchserve.archive.command import archive
from persia.torchserve.archive.compare.command import compare
from tests.support.golden import GOLDEN
from tests.support.text_models import pack, random_distilbert
from tests.support.text_serving import SOURCES

pytestmark = pytest.mark.whole_way

CTR = GOLDEN / "ctr"
TEXTS = [
    "Bloomberg has decided to publish a new report",
    "herbal tea",
    "it is a nice day",
    "the weather is cold",
    "who was jim",
]


def run_compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(compare, [*map(str, arguments), "--seconds", "0"], catch_exceptions=False)


def compared(*arguments: str | Path) -> dict[str, Any]:
    run = run_compare(*arguments, "--json")
    assert run.exit_code == 0, run.output
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def samples_of(directory: Path, mode: str) -> Path:
    path = directory / "samples.txt"
    lines = [json.dumps({"question": "how is it", "context": text}) for text in TEXTS] if mode.startswith("q") else TEXTS
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("mode", [*SOURCES, "text_embedding"])
def test_a_model_agrees_with_itself_in_another_form(tmp_path: Path, mode: str) -> None:
    folder = SOURCES.get(mode, SOURCES["sequence_classification"])
    for version, save_mode in (("1", "pretrained"), ("2", "torchscript")):
        assert pack(tmp_path, folder, "--mode", mode, "--save-mode", save_mode, "--version", version).exit_code == 0
    one, other = tmp_path / "text-1.mar", tmp_path / "text-2.mar"
    found = compared(one, other, "--samples", samples_of(tmp_path, mode), "--min-agreement", "1")
    words = sum(len(text.split()) for text in TEXTS)
    assert (found["kind"], found["samples"], found["agreement"]) == (mode, 5, 1.0)
    assert found["decisions"] == (words if mode == "token_classification" else 5)
    assert found["max_distance"] < 1e-5 and found["min_cosine"] > 0.99999
    assert [side["archive"] for side in found["archives"]] == ["text-1.mar", "text-2.mar"]
    assert [side["archive_bytes"] for side in found["archives"]] == [one.stat().st_size, other.stat().st_size]
    assert all(side["p50_ms"] > 0 for side in found["archives"])


def test_a_student_of_another_family_is_judged(tmp_path: Path) -> None:
    student = random_distilbert(tmp_path / "student", num_labels=2)
    assert pack(tmp_path, SOURCES["sequence_classification"], name="teacher").exit_code == 0
    assert pack(tmp_path, student, name="student").exit_code == 0
    arguments: list[str | Path] = [
        tmp_path / "teacher-1.0.mar",
        tmp_path / "student-1.0.mar",
        "--samples",
        samples_of(tmp_path, "s"),
    ]
    found = compared(*arguments)
    assert 0 < found["agreement"] < 1 and 0 < found["mean_distance"] < found["max_distance"] < 1
    assert found["differences"] and {entry["sample"] for entry in found["differences"]} <= set(TEXTS)
    assert len(found["differences"]) == round(5 * (1 - found["agreement"]))
    run = run_compare(*arguments, "--min-agreement", "0.99")
    assert run.exit_code == 1 and run.stderr == f"they agree on {found['agreement']:.3f} of the answers, less than 0.99\n"
    assert "teacher-1.0.mar" in run.stdout and "p50 of a call" in run.stdout
    assert f"on 5 samples\nscores differ by {found['mean_distance']:.4g} on average" in run.stdout


def test_labels_count_by_name_and_not_by_number(tmp_path: Path) -> None:
    """A student may have been trained with its labels in another order."""
    same = {"0": "a", "1": "b"}
    for version, names in (("1", same), ("2", {"0": "b", "1": "a"})):
        labels = tmp_path / f"labels-{version}.json"
        labels.write_text(json.dumps(names))
        run = pack(tmp_path, SOURCES["sequence_classification"], "--labels", labels, "--version", version)
        assert run.exit_code == 0, run.output
    found = compared(tmp_path / "text-1.mar", tmp_path / "text-2.mar", "--samples", samples_of(tmp_path, "s"))
    assert found["agreement"] == 0  # the same outputs by other names
    assert found["max_distance"] > 0.1


def test_models_that_answer_other_things_are_not_compared(tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text('["yes", "no"]')
    assert pack(tmp_path, SOURCES["sequence_classification"], name="seq").exit_code == 0
    assert pack(tmp_path, SOURCES["sequence_classification"], "--labels", labels, name="named").exit_code == 0
    assert pack(tmp_path, SOURCES["token_classification"], name="tok").exit_code == 0
    samples = samples_of(tmp_path, "s")
    run = run_compare(tmp_path / "seq-1.0.mar", tmp_path / "tok-1.0.mar", "--samples", samples)
    assert run.exit_code == 1
    assert "expected two models of one kind, got seq for sequence_classification and tok for token" in run.stderr
    run = run_compare(tmp_path / "seq-1.0.mar", tmp_path / "named-1.0.mar", "--samples", samples)
    assert run.exit_code == 1 and "got some that only one of them has: LABEL_0, LABEL_1, no, yes" in run.stderr


def pack_dense(out: Path, version: str, *options: str) -> Path:
    arguments = ["--model", CTR / "ckpt" / "jit_dense.pt", "--name", "ctr", "--out", out, "--version", version]
    sample = ["--sample", CTR / "golden" / "batch16_0.npz"]
    run = CliRunner().invoke(archive, [str(argument) for argument in [*arguments, *sample, *options]], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    return out / f"ctr-{version}.mar"


def test_dense_models_are_compared_by_the_order_of_their_scores(tmp_path: Path) -> None:
    one, other = pack_dense(tmp_path, "1"), pack_dense(tmp_path, "2", "--quantize", "dynamic")
    sample = CTR / "golden" / "batch16_0.npz"
    found = compared(one, other, "--samples", sample)
    assert (found["kind"], found["samples"], found["decisions"]) == ("dense", 16, 16 * 15 / 2)
    assert 0.9 < found["agreement"] <= 1 and 0 < found["max_distance"] < 0.01
    assert compared(one, one, "--samples", sample)["agreement"] == 1
    run = run_compare(one, other, "--samples", CTR / "golden" / "batch16_0.bin")
    assert run.exit_code == 1 and "expected samples for a dense model as .npz" in run.stderr
    wrong = GOLDEN / "mix" / "golden" / "batch16_0.npz"
    run = run_compare(one, other, "--samples", wrong)
    assert run.exit_code == 1 and "the model refuses the sample" in run.stderr
