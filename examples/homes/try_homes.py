"""Starts each home in turn, compares its answers with the model's own, and prints how many requests a second it answers.

usage: make homes-test [MODEL=folder] [SECONDS=3]

MODEL is a folder of a text classifier, as save_pretrained writes it; without one a tiny BERT of the tests is served.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from callers import FORM, Call, grpc_call, http_call, requests_a_second
from known_homes import BIN, HOMES, Home
from text_service import MODEL_VARIABLE, TextService

from persia.system.address import free_ports

HERE = Path(__file__).resolve().parent
TINY = HERE.parents[1] / "tests" / "data" / "dense" / "bert_seq"
PATIENCE = 180.0
# Homes that would tell their makers of us, or paint their logs.
QUIET = {"BENTOML_DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0", "NO_COLOR": "1"}
TEXTS = [
    "The annual report was published this morning.",
    "A new virus changed the world, and nobody had expected it.",
    "short",
    "Ein Text in einer anderen Sprache, mit Umlauten: äöü",
]


class Refused(Exception):
    """A home that does not do what it should."""


def model_folder(scratch: Path) -> Path:
    """The tiny BERT, with names of its classes."""
    folder = scratch / "model"
    shutil.copytree(TINY, folder)
    (folder / "index_to_name.json").write_text(json.dumps({"0": "Not Accepted", "1": "Accepted"}))
    return folder


def packed(model: Path, scratch: Path) -> Path:
    """A model store with an archive of the model."""
    store = scratch / "store"
    command = [sys.executable, "-m", "persia.launcher", "archive", "--transformers", str(model)]
    command += ["--name", "text", "--out", str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return store


@contextmanager
def started(home: Home, port: int, model: Path, store: Path, log: Path) -> Iterator[None]:
    """The home, until its callers are done with it. Raises Refused if it does not come up."""
    environment = {**os.environ, **QUIET, MODEL_VARIABLE: str(model), "PYTHONPATH": str(HERE)}
    environment["PATH"] = f"{BIN}:{os.environ['PATH']}"
    with log.open("wb") as written:
        command = home.command_on(port, store)
        process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=written, stderr=written)
    try:
        wait_until_it_answers(process, opener(home, port), log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def opener(home: Home, port: int) -> Callable[[], Call]:
    return partial(grpc_call if home.grpc else http_call, port)


def wait_until_it_answers(process: subprocess.Popen[bytes], open_call: Callable[[], Call], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Refused(f"it ended with {process.returncode}: {last_lines(log)}")
        try:
            status, answer = open_call()(TEXTS[0], FORM)
        except (OSError, ValueError):
            status, answer = 0, "nothing"
        if status == 200:
            return
        time.sleep(0.2)
    raise Refused(f"it did not answer within {PATIENCE:.0f} s, and at last {answer}: {last_lines(log)}")


def last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-8:])


def compare(call: Call, own: dict[str, Any]) -> None:
    """Raises Refused unless each text has the answer that the model gives in this process, and nonsense has none."""
    for text, expected in own.items():
        status, answer = call(text, FORM)
        if status != 200 or not alike(answer, expected):
            raise Refused(f"expected {expected} for {text!r}, got {status}: {answer}")
    status, answer = call(TEXTS[0], "no such form")
    if status != 400:
        raise Refused(f"expected a wrong format to be refused with 400, got {status}: {answer}")


def alike(answer: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return (
            isinstance(answer, dict) and answer.keys() == expected.keys() and all(alike(answer[k], expected[k]) for k in answer)
        )
    if isinstance(expected, list):
        return isinstance(answer, list) and len(answer) == len(expected) and all(map(alike, answer, expected))
    if isinstance(expected, float):
        return isinstance(answer, float) and math.isclose(answer, expected, abs_tol=1e-6)
    return bool(answer == expected)


def try_home(home: Home, model: Path, store: Path, own: dict[str, Any], seconds: float, scratch: Path) -> list[float]:
    """Requests a second of one caller, and of four. Raises Refused."""
    (port,) = free_ports(1)
    with started(home, port, model, store, scratch / "home.log"):
        compare(opener(home, port)(), own)
        return [requests_a_second(opener(home, port), TEXTS[0], callers, seconds) for callers in (1, 4)]


def try_all(homes: list[Home], model: Path, seconds: float, scratch: Path) -> list[str]:
    """Prints a line for each, and gives the names of those that did not do what they should."""
    service = TextService(model)
    own = {text: json.loads(service.answer({"text": text, "format": FORM})) for text in TEXTS}
    store = packed(model, scratch)
    failed = []
    print(f"{'requests a second':<30}{'1 caller':>12}{'4 callers':>12}")
    for home in homes:
        try:
            if home.missing:
                raise Refused(f"not installed: {', '.join(home.missing)}")
            one, four = try_home(home, model, store, own, seconds, scratch)
            print(f"{home.name:<30}{one:>12.0f}{four:>12.0f}", flush=True)
        except Refused as error:
            failed.append(home.name)
            print(f"{home.name:<30}  {error}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", help="part of the name of a home")
    arguments = parser.parse_args()
    only = (arguments.only or "").lower()
    with tempfile.TemporaryDirectory(prefix="persia-homes-") as directory:
        scratch = Path(directory)
        model = arguments.model or model_folder(scratch)
        failed = try_all([home for home in HOMES if only in home.name.lower()], model, arguments.seconds, scratch)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
