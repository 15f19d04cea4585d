"""Serving a text model beside TorchServe's example of transformers, and other ways that people have.

usage: python benchmarks/bench_transformers.py [--texts 40] [--tokens 8 16 32 128] [--venv DIR | --python FILE] [--json FILE]

    example     what the unmodified example does, with transformers 4.44.2: every text filled up to 150 tokens, eager, float32
    pipeline    transformers' pipeline of the same version, as FastAPI applications have it: no filling up, eager, float32
    float32     our archive, --save-mode torchscript
    int8        our archive, --quantize dynamic
    onnx int8   our archive, --quantize dynamic --save-mode onnx: ONNX Runtime

The model is a DistilBERT (66 million parameters) for 8 classes, made here: random weights under a trained head. All have one
core and one thread of torch, and each text goes to each in turn. Times are medians of whole requests, without TorchServe or
HTTP: by the clock, and of the processor, where others use the machine. The example's version of transformers is installed into
a virtual environment of its own, which shares torch with this one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

EXAMPLE_TRANSFORMERS = "4.44.2"
CLASSES = 8
WORDS_OF_CLASS = 20
TRAINING_TEXTS = 500
PIECES = 30522
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Reply:
    label: str
    logits: list[float]
    ms: float
    cpu_ms: float


class Contender:
    """A process that serves one way."""

    def __init__(self, python: Path, way: str, model: Path) -> None:
        program = Path(__file__).with_name("text_contender.py")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
        command = [str(python), "-W", "ignore", str(program), way, str(model)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.versions: dict[str, str] = self._read()["versions"]

    def ask(self, text: str) -> Reply:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"text": text}) + "\n")
        self.process.stdin.flush()
        return Reply(**self._read())

    def stop(self) -> None:
        self.process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.process.args!r} ended with {self.process.wait()}"
        read: dict[str, Any] = json.loads(line)
        return read


def text_of(tokens: int, chosen: random.Random) -> tuple[str, int]:
    """A text of words of one token each, two thirds of which are of its class, and the class. Two tokens are special."""
    of_class = chosen.randrange(CLASSES)
    words = []
    for _ in range(tokens - 2):
        own = of_class * WORDS_OF_CLASS + chosen.randrange(WORDS_OF_CLASS)
        words.append(f"w{own if chosen.random() < 2 / 3 else chosen.randrange(PIECES - len(SPECIAL_TOKENS))}")
    return " ".join(words), of_class


def make_model(folder: Path) -> None:
    """Random weights, but for a head that was trained here to tell classes of texts: answers at random would be ties."""
    import transformers

    words = [f"w{i}" for i in range(PIECES - len(SPECIAL_TOKENS))]
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(vocab_size=PIECES, id2label={i: f"class {i}" for i in range(CLASSES)})
    model: Any = transformers.DistilBertForSequenceClassification(config)
    model.eval()
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *words]) + "\n")
    settings = {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    chosen = random.Random(1)
    texts, classes = zip(*(text_of(chosen.choice([8, 16, 32]), chosen) for _ in range(TRAINING_TEXTS)), strict=True)
    with torch.no_grad():
        inputs = (tokenizer(text, return_tensors="pt")["input_ids"] for text in texts)
        vectors = torch.cat([model.distilbert(ids)[0][:, 0] for ids in inputs])
    train_head(model, vectors, torch.tensor(classes))
    model.save_pretrained(folder)


def train_head(model: Any, vectors: torch.Tensor, classes: torch.Tensor) -> None:
    """vectors: what the head gets of each text."""
    parameters = [*model.pre_classifier.parameters(), *model.classifier.parameters()]
    steps = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(300):
        steps.zero_grad()
        logits = model.classifier(torch.relu(model.pre_classifier(vectors)))
        torch.nn.functional.cross_entropy(logits, classes).backward()
        steps.step()


def pack(folder: Path, out: Path, name: str, *options: str) -> tuple[Path, str]:
    """The archive, and what the command said of it. It is tried on other texts than those that are timed."""
    chosen = random.Random(2)
    samples = out / "samples.txt"
    samples.write_text("\n".join(text_of(chosen.choice([8, 16, 32]), chosen)[0] for _ in range(100)))
    command = [sys.executable, "-m", "persia.launcher", "archive", "--transformers", str(folder), "--name", name]
    command += ["--out", str(out), "--max-length", "150", "--sample", str(samples), *options]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return out / f"{name}-1.0.mar", run.stdout.strip().partition("; ")[2]


def example_python(venv: Path) -> Path:
    """The interpreter of an environment with the example's transformers, and with the torch that is here."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        (site,) = venv.glob("lib/python*/site-packages")
        (site / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    command = [str(python), "-m", "pip", "install", "--quiet", f"transformers=={EXAMPLE_TRANSFORMERS}"]
    subprocess.run(command, check=True)
    return python


def measure(contenders: dict[str, Contender], tokens: int, count: int) -> dict[str, list[Reply]]:
    """What each answers to all texts; the first two are for warming up."""
    replies: dict[str, list[Reply]] = {name: [] for name in contenders}
    chosen = random.Random(tokens)
    for i in range(count + 2):
        text, _ = text_of(tokens, chosen)
        for name, contender in contenders.items():
            reply = contender.ask(text)
            if i >= 2:
                replies[name].append(reply)
    return replies


def apart(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def summary(replies: dict[str, list[Reply]]) -> dict[str, dict[str, float]]:
    """Medians, and how the answers compare with the example's."""
    theirs = replies["example"]
    ms = {name: statistics.median(reply.ms for reply in own) for name, own in replies.items()}
    cpu = {name: statistics.median(reply.cpu_ms for reply in own) for name, own in replies.items()}
    found = {}
    for name, own in replies.items():
        pairs = list(zip(own, theirs, strict=True))
        found[name] = {
            "p50_ms": ms[name],
            "cpu_ms": cpu[name],
            "faster": ms["example"] / ms[name],
            "cpu_faster": cpu["example"] / cpu[name],
            "agreement": statistics.fmean(one.label == other.label for one, other in pairs),
            "logits_apart": max((apart(one.logits, other.logits) for one, other in pairs if one.logits), default=math.nan),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8, 16, 32, 128])
    parser.add_argument("--venv", type=Path, default=Path("build") / f"transformers-{EXAMPLE_TRANSFORMERS}")
    parser.add_argument("--python", type=Path, help="an interpreter that has the example's transformers already")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    python = options.python or example_python(options.venv.absolute())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        make_model(folder)
        float32, _ = pack(folder, Path(scratch), "float32", "--save-mode", "torchscript")
        int8, said = pack(folder, Path(scratch), "int8", "--quantize", "dynamic")
        onnx, _ = pack(folder, Path(scratch), "onnx", "--quantize", "dynamic", "--save-mode", "onnx")
        sizes = {path.stem: path.stat().st_size >> 20 for path in (float32, int8, onnx)}
        here = Path(sys.executable)
        contenders = {
            "example": Contender(python, "example", folder),
            "pipeline": Contender(python, "pipeline", folder),
            "float32": Contender(here, "archive", float32),
            "int8": Contender(here, "archive", int8),
            "onnx int8": Contender(here, "archive", onnx),
        }
        found = {tokens: summary(measure(contenders, tokens, options.texts)) for tokens in options.tokens}
        print(f"example and pipeline: {contenders['example'].versions}; archives: {contenders['int8'].versions}, MiB: {sizes}")
        print(f"int8, when it was packed: {said}")
        for contender in contenders.values():
            contender.stop()
    for tokens, of_tokens in found.items():
        print(f"\n{tokens} tokens      p50 ms  (cpu)   x example  (cpu)   same label  logits apart")
        for name, figures in of_tokens.items():
            p50, cpu = figures["p50_ms"], figures["cpu_ms"]
            ratios = f"{figures['faster']:10.1f} {figures['cpu_faster']:7.1f}"
            print(f"  {name:12} {p50:8.1f} {cpu:7.1f} {ratios} {figures['agreement']:12.3f} {figures['logits_apart']:13.2g}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
