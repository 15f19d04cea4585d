"""`persia-launcher archive --transformers`: folders of text models become archives that answer alike, or are refused."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from persia.checking.command import check
from persia.text.tokenizer import Text
from persia.torchserve.archive.text import packing
from persia.torchserve.archive.text.formats import write_model
from tests.support.text_models import copy_of, pack, random_distilbert, random_longformer, random_roberta, settings_of, unpacked
from tests.support.text_serving import DENSE, SOURCES

pytestmark = pytest.mark.whole_way

SEQUENCE = SOURCES["sequence_classification"]
LOGITS = json.loads((DENSE / "logits.json").read_text())["models"]


FORMS = [*itertools.product(SOURCES, ["pretrained", "torchscript"]), ("question_answering", "onnx")]


@pytest.mark.parametrize(("mode", "save_mode"), FORMS)
def test_an_archive_answers_as_the_folder_did(tmp_path: Path, mode: str, save_mode: str) -> None:
    if save_mode == "onnx":
        pytest.importorskip("onnxscript")
    run = pack(tmp_path, SOURCES[mode], "--save-mode", save_mode, "--max-length", "32")
    assert run.exit_code == 0, run.output
    said = f"{mode}, {save_mode}, up to 32 tokens; for 33 texts made of the vocabulary: answers as the folder does\n"
    assert run.stdout.endswith(said)
    model = unpacked(tmp_path / "text-1.0.mar", tmp_path / "unpacked")
    wrong = []
    for case in LOGITS[SOURCES[mode].name]:
        if case["padded"]:
            continue
        (outcome,) = model.answer([Text(*case["text"])])
        assert outcome.tokens.ids == case["input_ids"]
        expected = torch.tensor(case["logits_with_token_types"])
        wrong.append((torch.from_numpy(outcome.numbers).reshape(-1) - expected.reshape(-1)).abs().max().item())
    assert wrong and max(wrong) < 1e-4


def test_a_worker_needs_no_network_and_no_transformers_for_a_graph(tmp_path: Path) -> None:
    assert pack(tmp_path, SEQUENCE, "--save-mode", "torchscript").exit_code == 0
    code = (
        "import sys, socket; sys.modules['transformers'] = None; socket.socket.connect = None\n"
        "from pathlib import Path; import yaml\n"
        "from persia.text import TextModel, TextSettings\n"
        "from persia.text.tokenizer import Text\n"
        "here = Path(sys.argv[1])\n"
        "settings = TextSettings.of_directory(here, yaml.safe_load((here / 'model-config.yaml').read_text()))\n"
        "model = TextModel.load(here, settings, 'traced_model.pt')\n"
        "print(model.answer([Text('Bloomberg has decided')])[0].numbers.shape, model.labels)\n"
    )
    with zipfile.ZipFile(tmp_path / "text-1.0.mar") as opened:
        opened.extractall(tmp_path / "unpacked")
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "unpacked")], capture_output=True, text=True, check=False)
    assert run.stdout == "(1, 2) ['LABEL_0', 'LABEL_1']\n", run.stderr


def test_what_stands_in_an_archive(tmp_path: Path) -> None:
    config, labels = tmp_path / "more.yml", tmp_path / "names.json"
    config.write_text("handler: {answer_cache_mib: 7, max_length: 99}\nbatchSize: 8\n")
    labels.write_text('{"0": "Not Accepted", "1": "Accepted"}')
    options: list[str | Path] = ["--config", config, "--labels", labels, "--max-length", "64", "--top-k", "2", "--workers", "3"]
    assert pack(tmp_path, SEQUENCE, *options).exit_code == 0
    mar = tmp_path / "text-1.0.mar"
    with zipfile.ZipFile(mar) as opened:
        assert set(opened.namelist()) == {
            *("MAR-INF/MANIFEST.json", "model-config.yaml", "model.safetensors", "transformers_handler.py", "config.json"),
            *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "index_to_name.json"),
        }
        assert json.loads(opened.read("index_to_name.json")) == {"0": "Not Accepted", "1": "Accepted"}
        assert opened.read("model.safetensors") == (SEQUENCE / "model.safetensors").read_bytes()
    settings = settings_of(mar)
    assert (settings["minWorkers"], settings["batchSize"]) == (3, 8)
    assert settings["handler"] == {
        "answer_cache_mib": 7,
        "mode": "sequence_classification",
        "save_mode": "pretrained",
        "max_length": 64,  # the command line goes before the file
        "num_labels": 2,
        "padding": "none",
        "top_k": 2,
    }


def test_the_same_folder_gives_the_same_archive(tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert pack(tmp_path / out, SEQUENCE).exit_code == 0
    assert (tmp_path / "a" / "text-1.0.mar").read_bytes() == (tmp_path / "b" / "text-1.0.mar").read_bytes()


@pytest.mark.parametrize("options", [[], ["--pooling", "cls", "--normalize"]])
def test_embeddings_of_any_model(tmp_path: Path, options: list[str]) -> None:
    assert pack(tmp_path, SEQUENCE, "--mode", "text_embedding", *options).exit_code == 0
    model = unpacked(tmp_path / "text-1.0.mar", tmp_path / "unpacked")
    (outcome,) = model.answer([Text("nice weather")])
    assert outcome.numbers.shape == (1, 32)
    assert (abs(float((outcome.numbers**2).sum()) - 1) < 1e-5) == bool(options)


MODULES = ["Transformer", "Pooling", "Normalize"]


def sentence_folder(to: Path, pooling: dict[str, Any], modules: list[str] = MODULES, **settings: Any) -> Path:
    """As sentence-transformers saves one."""
    copy_of(SEQUENCE, to, architectures=["BertModel"])
    paths = {"Transformer": "", **{kind: f"{i}_{kind}" for i, kind in enumerate(modules) if kind != "Transformer"}}
    types = [{"path": paths[kind], "type": f"sentence_transformers.models.{kind}"} for kind in modules]
    (to / "modules.json").write_text(json.dumps(types))
    (to / "1_Pooling").mkdir()
    (to / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (to / "sentence_bert_config.json").write_text(json.dumps(settings))
    return to


MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("pooling", "modules", "options", "expected", "said"),
    [
        (MEAN, MODULES, [], ("mean", True, 40), "pooling mean, normalized, max_seq_length 40"),
        (CLS, MODULES[:2], [], ("cls", False, 40), "pooling cls, not normalized, max_seq_length 40"),
        ({"pooling_mode": "cls"}, MODULES, [], ("cls", True, 40), "pooling cls, normalized"),
        (
            CLS,
            MODULES,
            ["--pooling", "mean", "--no-normalize", "--max-length", "64"],
            ("mean", False, 64),
            "files say: pooling",
        ),
    ],
)
def test_embeddings_are_made_as_sentence_transformers_files_say(
    tmp_path: Path, pooling: dict[str, Any], modules: list[str], options: list[str], expected: tuple[Any, ...], said: str
) -> None:
    folder = sentence_folder(tmp_path / "folder", pooling, modules, max_seq_length=40, do_lower_case=False)
    run = pack(tmp_path, folder, *options)
    assert run.exit_code == 0, run.output
    assert said in run.stdout and "do_lower_case" not in run.stdout
    settings = settings_of(tmp_path / "text-1.0.mar")["handler"]
    assert tuple(settings[key] for key in ("pooling", "normalize", "max_length")) == expected
    assert settings["mode"] == "text_embedding" and "do_lower_case" not in settings


def test_texts_are_lower_cased_where_sentence_transformers_did_that(tmp_path: Path) -> None:
    """It does so before the tokenizer, whatever the tokenizer does. Its `false` leaves the tokenizer as it is."""
    folder = sentence_folder(tmp_path / "folder", MEAN, do_lower_case=True)
    for name, change in (("tokenizer_config.json", {"do_lower_case": False}), ("tokenizer.json", {})):
        content = json.loads((folder / name).read_text())
        if name == "tokenizer.json":
            content["normalizer"]["lowercase"] = False
        (folder / name).write_text(json.dumps(content | change))
    run = pack(tmp_path, folder)
    assert run.exit_code == 0, run.output
    assert "normalized, do_lower_case;" in run.stdout
    model = unpacked(tmp_path / "text-1.0.mar", tmp_path / "unpacked")
    assert model.tokenize(Text("NICE weather")) == model.tokenize(Text("nice weather"))


@pytest.mark.parametrize(
    ("pooling", "modules", "said"),
    [
        ({"pooling_mode_max_tokens": True}, MODULES, "expected the pooling mode mean or cls, got max_tokens"),
        ({**MEAN, "pooling_mode_cls_token": True}, MODULES, "got cls_token and mean_tokens"),
        (MEAN, ["Transformer", "Pooling", "Dense"], "got Transformer, Pooling, Dense"),
    ],
)
def test_embeddings_that_would_be_others_are_refused(
    tmp_path: Path, pooling: dict[str, Any], modules: list[str], said: str
) -> None:
    run = pack(tmp_path, sentence_folder(tmp_path / "folder", pooling, modules))
    assert run.exit_code == 1
    assert said in run.stderr and "take modules.json out of the folder" in run.stderr


@pytest.mark.parametrize("without", [(), ("tokenizer.json",), ("vocab.txt",), ("model.safetensors",), ("pytorch_model.bin",)])
def test_folders_of_any_age(tmp_path: Path, without: tuple[str, ...]) -> None:
    folder = copy_of(SEQUENCE, tmp_path / "folder", *without)
    assert pack(tmp_path, folder, "--max-length", "32").exit_code == 0
    model = unpacked(tmp_path / "text-1.0.mar", tmp_path / "unpacked")
    case = LOGITS["bert_seq"][1]
    (outcome,) = model.answer([Text(*case["text"])])
    assert outcome.numbers[0].tolist() == pytest.approx(case["logits_with_token_types"], abs=1e-4)


@pytest.mark.parametrize("save_mode", ["pretrained", "torchscript"])
def test_other_families(tmp_path: Path, save_mode: str) -> None:
    three: dict[str, Any] = {"num_labels": 3, "id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    random_distilbert(tmp_path / "distilbert", **three)
    random_roberta(tmp_path / "roberta", **three)
    for family, most in (("distilbert", 128), ("roberta", 64)):  # of 66 positions two are before the first
        run = pack(tmp_path, tmp_path / family, "--save-mode", save_mode, name=family)
        assert run.exit_code == 0, run.output
        assert f"up to {most} tokens" in run.stdout
        model = unpacked(tmp_path / f"{family}-1.0.mar", tmp_path / f"unpacked-{family}")
        assert model.labels == ["a", "b", "c"]
        (outcome,) = model.answer([Text("herbal tea " * 100)])
        assert len(outcome.tokens.ids) == most
    run = pack(tmp_path, tmp_path / "roberta", "--max-length", "65", "--version", "2")
    assert run.exit_code == 1 and "at most 64 tokens, which the model has positions for, got 65" in run.stderr


def test_a_model_whose_trace_is_of_one_length_is_not_packed_as_one(tmp_path: Path) -> None:
    folder = random_longformer(tmp_path / "longformer", random_roberta(tmp_path / "roberta"))
    run = pack(tmp_path, folder, "--save-mode", "torchscript")
    assert run.exit_code == 1 and "cannot be served as torchscript, choose another --save-mode: " in run.stderr
    assert list(tmp_path.glob("*.mar")) == []
    assert pack(tmp_path, folder).exit_code == 0


def test_an_archive_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_other(model: Any, *arguments: Any) -> Path:
        torch.nn.init.zeros_(model.classifier.weight)
        return write_model(model, *arguments)

    monkeypatch.setattr(packing, "write_model", write_other)
    run = pack(tmp_path, SEQUENCE, "--save-mode", "torchscript")
    assert run.exit_code == 1 and "expected the same answers from the folder and from its archive (torchscript)" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_samples_are_what_callers_send(tmp_path: Path) -> None:
    samples = tmp_path / "samples.txt"
    samples.write_text(
        '{"question": "Who was Jim Henson?", "context": "Jim Henson was a nice puppet"}\n\n["How is", "it is nice"]\n'
    )
    run = pack(tmp_path, SOURCES["question_answering"], "--sample", samples)
    assert run.exit_code == 1 and "line 3: entry 0 of the list: expected an object such as" in run.stderr
    samples.write_text(samples.read_text().splitlines()[0])
    assert "for 1 texts of samples.txt: answers as" in pack(tmp_path, SOURCES["question_answering"], "--sample", samples).stdout


def test_the_check_says_what_a_text_model_is_for(tmp_path: Path) -> None:
    assert pack(tmp_path, SOURCES["token_classification"]).exit_code == 0
    mar, spoiled = tmp_path / "text-1.0.mar", tmp_path / "spoiled.mar"
    with zipfile.ZipFile(mar) as opened, zipfile.ZipFile(spoiled, "w") as written:
        for name in opened.namelist():
            if name != "tokenizer.json":
                written.writestr(name, opened.read(name))
    run = CliRunner().invoke(check, ["--archive", str(mar), "--archive", str(spoiled), "--json"])
    assert run.exit_code == 2  # there is no config either
    said = [(line["state"], line["text"]) for line in json.loads(run.stdout)["findings"] if line["area"] == "archive"]
    assert [state for state, _ in said] == ["ok", "ok", "ok", "fail"]
    assert said[1][1] == "a text model for token_classification, which loads: 9 labels, up to 256 tokens"
    assert "expected the model's tokenizer" in said[3][1]
