"""Does what the input `body` or `do` says."""

import json
import os
import sys
import time
from typing import Any

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, (bytes, bytearray)) else value


def _refusal(rest: str) -> PredictionException:
    """`CODE`, or `CODE WORDS` with words in JSON."""
    code, _, words = rest.partition(" ")
    return PredictionException(json.loads(words or '"as you wish"'), int(code))


def _large(rest: str, index: int, context: Any) -> bytes:
    """`SIZE` of the body, or `header SIZE`."""
    where, _, size = rest.rpartition(" ")
    if where == "header":
        context.set_response_header(index, "x-large", "x" * int(size))
    return b"" if where else b"x" * int(size)


def _load(name: str) -> None:
    if "fails_to_load" in name:
        raise RuntimeError("this model does not load")
    if "out_of_memory" in name:
        raise MemoryError("this model is too large")


def handle(data: Any, context: Any) -> Any:
    if data is None:  # the model is loaded
        return _load(context.model_name)
    answers: list[Any] = []
    for index, inputs in enumerate(data):
        word = inputs.get("do", inputs.get("body"))
        word = _text(word) if not isinstance(word, dict) else word["do"]
        command, _, rest = word.partition(" ")
        if command == "echo":
            answers.append(rest)
        elif command == "inputs":
            answers.append({name: [type(value).__name__, _text(value)] for name, value in inputs.items()})
        elif command == "headers":
            answers.append(context.get_all_request_header(index))
        elif command == "batch":
            answers.append(str(len(data)))
        elif command == "version":
            answers.append(json.dumps({"model": context.model_name, "dir": os.path.basename(os.getcwd())}))
        elif command == "pid":
            answers.append(str(os.getpid()))
        elif command == "id":
            answers.append(context.get_request_id(index))
        elif command == "print":
            answers.append(str(sys.stdout.write(f"{rest}\n")))
        elif command == "sleep":
            time.sleep(float(rest.split()[0]))
            answers.append("slept")
        elif command == "touch":
            with open(rest, "w"):
                time.sleep(1)
            answers.append("touched")
        elif command == "refuse":
            raise _refusal(rest)
        elif command in ("raise", "memory"):
            raise MemoryError("too large") if command == "memory" else ValueError("something is wrong")
        elif command == "die":
            os._exit(3)
        elif command == "exit":
            sys.exit(4)
        elif command in ("none", "few"):
            return None if command == "none" else []
        elif command == "object":
            answers.append(object())
        elif command == "status":
            context.set_response_status(json.loads(rest), "By The Handler", idx=index)
            context.set_response_header(index, "x-of", "handler")
            context.set_response_content_type(index, "text/x-own")
            answers.append("with a status")
        elif command == "large":
            answers.append(_large(rest, index, context))
        elif command == "stream":
            for number in range(int(rest)):
                send_intermediate_predict_response([f"part {number};"], context.request_ids, "ok", 200, context)
            answers.append("end")
        else:
            answers.append([1.5, {"command": command}])
    return answers
