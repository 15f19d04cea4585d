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


def handle(data: Any, context: Any) -> Any:
    if data is None:  # the model is loaded
        if "fails_to_load" in context.model_name:
            raise RuntimeError("this model does not load")
        return None
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
            raise PredictionException("as you wish", int(rest))
        elif command == "refuse_in":
            raise PredictionException(json.loads(rest), 404)
        elif command == "long":
            context.set_response_header(index, "x-long", "x" * int(rest))
            answers.append("with a header")
        elif command == "raise":
            raise ValueError("something is wrong")
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
            answers.append(b"x" * int(rest))
        elif command == "stream":
            for number in range(int(rest)):
                send_intermediate_predict_response([f"part {number};"], context.request_ids, "ok", 200, context)
            answers.append("end")
        else:
            answers.append([1.5, {"command": command}])
    return answers
