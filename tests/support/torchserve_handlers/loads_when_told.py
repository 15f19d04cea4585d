"""A handler that is done with loading when the file is there that its model-config.yaml names."""

import pathlib
import time
from typing import Any


def handle(data: Any, context: Any) -> Any:
    gate = pathlib.Path(context.model_yaml_config["persia"]["gate"])
    while data is None and not gate.exists():
        time.sleep(0.005)
