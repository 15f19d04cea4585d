"""int8 models: made by `archive --quantize dynamic` if they still answer alike, or by users in whichever way."""

from __future__ import annotations

import json
import random
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from torch import nn

from persia.errors import InvalidInput
from persia.text import TextModel, TextSettings
from persia.text.tokenizer import Text
from persia.torch_deprecations import torch_deprecations_ignored
from persia.torchserve.archive.command import archive
from persia.torchserve.archive.compare.agreement import Answers, agreement_of, order_of
from persia.torchserve.archive.dense.answers import load_model_of, scores_of
from persia.torchserve.archive.quantization import is_quantized, quantize_module, quantize_script
from persia.torchserve.archive.text.answers import load_text_model
from tests.support.golden import GOLDEN, arrays_of
from tests.support.text_models import pack
from tests.support.text_serving import DENSE, SOURCES

pytestmark = pytest.mark.whole_way

SEQUENCE = SOURCES["sequence_classification"]
TEXTS = ["Bloomberg has decided to publish a new report", "herbal tea", "it is a nice day " * 9, "naïve café"]
CTR = GOLDEN / "ctr"


@pytest.mark.parametrize("mode", SOURCES)
def test_an_int8_archive_answers_each_text_whatever_comes_with_it(tmp_path: Path, mode: str) -> None:
    run = pack(tmp_path, SOURCES[mode], "--quantize", "dynamic", "--min-agreement", "0.7")
    assert run.exit_code == 0, run.output
    assert "torchscript int8, up to 256 tokens; for 33 texts made of the vocabulary: as int8 agreement 0." in run.stdout
    mar = tmp_path / "text-1.0.mar"
    with zipfile.ZipFile(mar) as opened:
        assert yaml.safe_load(opened.read("model-config.yaml"))["handler"]["quantized"] == "dynamic"
    model = load_text_model(mar)
    assert is_quantized(model.engine.module)  # type: ignore[attr-defined]
    texts = [Text(text, "the weather is cold" if mode == "question_answering" else None) for text in TEXTS]
    together = model.answer(texts)
    for text, outcome in zip(reversed(texts), reversed(together), strict=True):
        (alone,) = model.answer([text])
        assert np.array_equal(alone.numbers, outcome.numbers)


def test_an_int8_model_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    run = pack(tmp_path, SEQUENCE, "--quantize", "dynamic", "--min-cosine", "0.9999")
    assert run.exit_code == 1
    assert "a mean cosine of at least 0.9999 between the int8 model and the original, got agreement 0." in run.stderr
    run = pack(tmp_path, SEQUENCE, "--quantize", "dynamic", "--min-agreement", "1")
    assert run.exit_code == 1 and "for 33 texts made of the vocabulary: try more and typical --sample" in run.stderr
    assert list(tmp_path.iterdir()) == []
    # Labels of texts that were made up are ties: they count only if they are asked to.
    assert pack(tmp_path, SOURCES["question_answering"], "--quantize", "dynamic").exit_code == 0
    samples = tmp_path / "samples.txt"
    chosen = random.Random(0)
    words = (DENSE / "vocab.txt").read_text().split()[5:120]
    rows = [{"question": "who was it", "context": " ".join(chosen.choices(words, k=20))} for _ in range(40)]
    samples.write_text("\n".join(map(json.dumps, rows)))
    run = pack(tmp_path, SOURCES["question_answering"], "--quantize", "dynamic", "--sample", samples, "--version", "2")
    assert run.exit_code == 1 and "expected an agreement of at least 0.95" in run.stderr


def pack_dense(out: Path, *options: str | Path, model: Path = CTR / "ckpt" / "jit_dense.pt") -> Result:
    arguments = ["--model", model, "--name", "ctr", "--out", out, *options]
    return CliRunner().invoke(archive, [str(argument) for argument in arguments], catch_exceptions=False)


SAMPLE = CTR / "golden" / "batch16_0.npz"


def test_a_dense_model_becomes_int8_too(tmp_path: Path) -> None:
    run = pack_dense(tmp_path, "--sample", SAMPLE, "--quantize", "dynamic")
    assert run.exit_code == 0, run.output
    assert ", and as int8 with agreement 0.99" in run.stdout
    model = load_model_of(tmp_path / "ctr-1.0.mar")
    assert isinstance(model, torch.jit.ScriptModule) and is_quantized(model)
    arrays = arrays_of(SAMPLE)
    inputs = ([arrays[f"{kind}{i}"] for i in range(9) if f"{kind}{i}" in arrays] for kind in ("dense", "emb"))
    (scores,) = scores_of(tmp_path / "ctr-1.0.mar", *inputs)
    assert 0 < np.abs(scores - arrays["out"]).max() < 0.01
    with zipfile.ZipFile(tmp_path / "ctr-1.0.mar") as opened:
        (tmp_path / "int8.pt").write_bytes(opened.read("jit_dense.pt"))
    again = pack_dense(tmp_path, "--version", "2", "--sample", SAMPLE, "--quantize", "dynamic", model=tmp_path / "int8.pt")
    assert again.exit_code == 1 and "the model is int8 already" in again.stderr


@pytest.mark.parametrize(
    "options", [[], ["--sample", CTR / "golden" / "batch16_0.bin", "--embedding-config", CTR / "embedding_config.yml"]]
)
def test_a_dense_model_is_compared_on_embeddings_that_are_known(tmp_path: Path, options: list[str | Path]) -> None:
    run = pack_dense(tmp_path, "--quantize", "dynamic", *options)
    assert run.exit_code == 1 and "expected a --sample as .npz with --quantize" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_linear_layers_stays_as_it_is() -> None:
    class Sum(nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return dense[0] + embeddings[0]

    with torch_deprecations_ignored():
        script = torch.jit.script(Sum())
    with pytest.raises(InvalidInput, match="no linear layers, so int8 would change nothing"):
        quantize_script(script)
    with pytest.raises(InvalidInput, match="no linear layers, so int8 would change nothing"):
        quantize_module(Sum())


def qconfig(train: bool) -> Any:
    from torch.ao import quantization

    make: Any = quantization.get_default_qat_qconfig if train else quantization.get_default_qconfig
    return make("x86")


class Pooled(nn.Module):
    """A classifier of texts as users quantize them: embeddings in float32, then int8 layers between stubs."""

    def __init__(self, vocabulary: int) -> None:
        from torch.ao import quantization

        super().__init__()
        self.words = nn.Embedding(vocabulary, 16)
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        vectors = self.words(input_ids) * attention_mask.unsqueeze(-1)
        pooled = vectors.sum(1) / attention_mask.sum(1, keepdim=True)
        logits: torch.Tensor = self.dequant(self.layers(self.quant(pooled)))
        return logits


def user_made(train: bool) -> tuple[nn.Module, nn.Module]:
    """A model before and after static quantization, or quantization aware training."""
    from torch.ao import quantization

    torch.manual_seed(3)
    model = Pooled(191)
    original = Pooled(191)
    original.load_state_dict(model.state_dict())
    model.train(train)
    for part in (model.layers, model.quant, model.dequant):
        part.qconfig = qconfig(train)
    prepare: Any = quantization.prepare_qat if train else quantization.prepare
    prepared = prepare(model)
    for seed in range(4):
        ids = torch.randint(0, 191, (8, 5 + seed))
        prepared(ids, torch.ones_like(ids))
    convert: Any = quantization.convert
    quantized: nn.Module = convert(prepared.eval())
    return original.eval(), quantized


@pytest.mark.parametrize("train", [False, True], ids=["static", "training"])
def test_int8_models_of_users_are_served_as_they_are(tmp_path: Path, train: bool) -> None:
    ids = torch.ones((1, 6), dtype=torch.int64)
    with torch_deprecations_ignored(), torch.no_grad():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        original, quantized = user_made(train)
        torch.jit.save(torch.jit.trace(quantized, (ids, torch.ones_like(ids))), str(tmp_path / "traced_model.pt"))
    shutil.copy(SEQUENCE / "tokenizer.json", tmp_path)
    (tmp_path / "index_to_name.json").write_text(json.dumps(["no", "yes"]))
    model = TextModel.load(tmp_path, TextSettings(mode="sequence_classification"), "traced_model.pt")
    assert is_quantized(model.engine.module)  # type: ignore[attr-defined]
    for outcome in model.answer([Text(text) for text in TEXTS]):
        ids = torch.tensor([outcome.tokens.ids])
        expected = original(ids, torch.ones_like(ids)).detach().numpy()
        assert outcome.numbers == pytest.approx(expected, abs=0.15)


def test_agreement_counts_decisions_distances_and_directions() -> None:
    one = Answers(["a", "b", "b", "a"], np.array([[0.9], [0.2], [0.3], [0.7]]), [np.array([1.0, 0.0])] * 4)
    other = Answers(["a", "b", "a", "a"], np.array([[0.8], [0.2], [0.6], [0.7]]), [np.array([1.0, 1.0])] * 3 + [np.zeros(2)])
    found = agreement_of(one, other)
    assert (found.agreement, found.decisions) == (0.75, 4)
    assert (found.max_distance, found.mean_distance) == pytest.approx((0.3, 0.1))
    assert (found.min_cosine, found.mean_cosine) == pytest.approx((0, 0.75 * 2**-0.5))
    assert order_of(np.array([3.0, 1.0, 1.0])) == [1, 1, 0]
    other_size = agreement_of(one, Answers(other.decisions, other.scores, [np.zeros(3)] * 4))
    assert other_size.mean_cosine is None and str(other_size) == "agreement 0.750"
    with pytest.raises(InvalidInput, match="expected as many decisions"):
        agreement_of(one, Answers(["a"], np.zeros((1, 1)), []))
