"""Takes several requests at once, and says with how many each of them came."""

import json
from pathlib import Path
from typing import Any

from ts.utils.util import PredictionException


class TakesSeveral:
    requests_at_once = 4

    def initialize(self, context: Any) -> None:
        pass

    def handle(self, data: Any, context: Any) -> Any:
        return [self.answer((inputs.get("do") or inputs.get("body")).decode(), len(data)) for inputs in data]

    def answer(self, command: str, together: int) -> Any:
        word, _, rest = command.partition(" ")
        if word == "open":  # blocks until a test opens the other end
            return Path(rest).read_text()
        if word == "wrong":
            return PredictionException(rest, 400)
        return json.dumps(together)
