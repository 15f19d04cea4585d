"""A handler that cannot load before the file is there that its model-config.yaml names; it says that it waits."""

import os
import pathlib
from typing import Any


def handle(data: Any, context: Any) -> Any:
    if data is not None:
        return ["[1.0]"] * len(data)
    gate = pathlib.Path(context.model_yaml_config["persia"]["gate"])
    gate.with_suffix(".started").touch()
    while not gate.exists():
        os.sched_yield()
    return None
