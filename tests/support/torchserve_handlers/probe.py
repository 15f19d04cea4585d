"""A handler that does what the batch says, in words: `hold PATH`, `raise`, `die`, `answer BYTES`, `refuse CODE`, and so on."""

import json
import os
import pathlib
import time
from typing import Any

from ts.utils.util import PredictionException


def handle(data: Any, context: Any) -> Any:
    if data is None:  # TorchServe's call when the worker starts
        return None
    return [answer(request, context) for request in data]


def answer(request: Any, context: Any) -> Any:
    word, _, rest = bytes(request.get("batch", b"")).decode(errors="replace").partition(" ")
    if word == "raise":
        raise RuntimeError(rest)
    if word == "die":
        os._exit(3)
    if word == "refuse":
        raise PredictionException("refused in words", int(rest))
    if word == "answer":
        return bytes(int(rest))
    if word == "hold":
        path = pathlib.Path(rest)
        path.with_suffix(".started").write_text(str(os.getpid()))
        while not path.exists():
            time.sleep(0.005)
    if word == "nap":
        time.sleep(float(rest))
    if word == "inputs":
        return json.dumps(sorted(request))
    if word == "text":
        return "no scores at all"
    return json.dumps([float(context.manifest["model"]["modelVersion"])])
