"""Takes requests of the Open Inference Protocol as TorchServe passes them on, and answers what it got."""

import json
from typing import Any


def handle(data: Any, context: Any) -> Any:
    if data is None:
        return None
    answers: list[Any] = []
    for index, inputs in enumerate(data):
        body = inputs["body"]
        own = [name for name in context.get_all_request_header(index) if name.startswith(":")]
        if own:
            answers.append(f"got the server's own headers: {own}")
        elif not isinstance(body, dict):
            answers.append(f"got {type(body).__name__}: {bytes(body).decode()}")
        elif body.get("parameters", {}).get("do") == "raise":
            raise LookupError("something is wrong")
        elif body.get("parameters", {}).get("do") == "words":
            answers.append(["no", "tensors"])
        else:
            outputs = [{**one, "name": "of " + one["name"]} for one in body["inputs"]]
            answers.append(json.dumps({"model_name": "body", "id": body.get("id"), "outputs": outputs}))
    return answers
