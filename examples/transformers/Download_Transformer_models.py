"""Writes ./Transformer_model/ for the archive commands, from the model that setup_config.json names.

usage: python Download_Transformer_models.py [setup_config.json | model-config.yaml]

`model_name` is a folder that save_pretrained wrote, or the name of a model of the hub.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from persia.errors import PersiaError
from persia.text import TextSettings
from persia.text.config_files import read_object
from persia.text.preparing import prepare
from persia.torchserve.archive.model_config import read_extra

OUT = Path("Transformer_model")


def main(path: Path) -> None:
    values = read_extra(path).get("handler") or {} if path.suffix in (".yaml", ".yml") else read_object(path)
    settings = TextSettings.of(values, path.name)
    random = prepare(settings, OUT)
    print(f"{OUT}: {', '.join(sorted(file.name for file in OUT.iterdir()))}")
    if random:
        print(
            f"{settings.model_name} was not trained for {settings.mode}: {', '.join(random[:4])} are random numbers, and so "
            "will the answers be",
            file=sys.stderr,
        )
    # torch-model-archiver 0.12 looks for files with the blanks that guides have after commas, such as in "a.json, ./b.json".
    blank = Path(" .")
    if not blank.is_symlink():
        os.symlink(".", blank)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "setup_config.json"))
    except (PersiaError, OSError, ValueError) as error:
        sys.exit(f"Download_Transformer_models.py: {error}")
