"""A handler that is never done with loading. That it has begun it notes in the file that its model-config.yaml names."""

import pathlib
import signal
from typing import Any


def handle(data: Any, context: Any) -> Any:
    pathlib.Path(context.model_yaml_config["persia"]["note"]).touch()
    signal.pause()
