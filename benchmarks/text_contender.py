"""One way to serve a text model, in a process of its own on one core: answers a line of JSON with a line of JSON.

usage: python text_contender.py WAY MODEL     WAY is example, pipeline or archive; MODEL a folder, or an archive

The first line that it writes says what it is. After that it reads `{"text": "..."}` and writes the label, the logits where it
has them, and the milliseconds that it took, by the clock and of the processor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PADDED = 150  # tokens: the example's max_length, up to which it fills every text

Answer = tuple[str, list[float]]


def example(folder: Path) -> Callable[[str], Answer]:
    """The steps of TorchServe's example: fill up to max_length, run the model eagerly, look the best label up."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(str(folder), local_files_only=True).eval()

    def answer(text: str) -> Answer:
        inputs = tokenizer(text, max_length=PADDED, padding="max_length", truncation=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(inputs["input_ids"], inputs["attention_mask"])[0]
        return model.config.id2label[int(logits[0].argmax())], logits[0].tolist()

    return answer


def pipeline(folder: Path) -> Callable[[str], Answer]:
    """What a FastAPI application around transformers' pipeline does for a request, without HTTP."""
    import transformers

    run = transformers.pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu")
    return lambda text: (run(text)[0]["label"], [])


def archive(path: Path) -> Callable[[str], Answer]:
    """What our handler does for a request, without TorchServe: read, tokenize, run, and write the answer."""
    from persia.text.answers import Answers
    from persia.text.requests import RequestReader
    from persia.torchserve.archive.text.answers import load_text_model

    model = load_text_model(path)
    reader, answers = RequestReader(model.mode), Answers(model)

    def answer(text: str) -> Answer:
        request = reader.read({"body": text.encode()})
        outcomes = model.answer(request.texts)
        return answers.encode(outcomes, request)[0], outcomes[0].numbers[0].tolist()

    return answer


WAYS = {"example": example, "pipeline": pipeline, "archive": archive}


def main(way: str, model: str) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    answer = WAYS[way](Path(model))
    versions = {"torch": torch.__version__}
    if "transformers" in sys.modules:
        versions["transformers"] = sys.modules["transformers"].__version__
    reply({"versions": versions})
    for line in sys.stdin:
        text = json.loads(line)["text"]
        start, spent = time.perf_counter(), time.process_time()
        label, logits = answer(text)
        times = {"ms": 1000 * (time.perf_counter() - start), "cpu_ms": 1000 * (time.process_time() - spent)}
        reply({"label": label, "logits": logits, **times})


def reply(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
