"""The guide's model of handler_factory, packed by its own commands, and what its callers send and get."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import torch
import yaml

from tests.support.places import DATA, ROOT

BASE = ROOT / "base"
# Named as text, or tools would check its code for style and types.
GUIDE = (DATA / "handlers" / "handler_factory_guide.md.txt").read_text()
MODEL_CODE, INIT_CODE, *_ = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
assert "class MyNetwork(" in MODEL_CODE and "def init_function(in_dim, layer_dims)" in INIT_CODE
SIZES = {"in_dim": 6, "layer_dims": [8, 8]}

# The guide's own file for a handler, with functions for this model: its imports stand at the top.
HANDLER = f"""
{INIT_CODE}
import os
import torch
from base_handler import handler_factory

def preprocess(data):
    return torch.tensor(data)

def postprocess(data):
    prediction = data.squeeze(0).softmax(0)
    class_id = prediction.argmax().item()
    return prediction[class_id].item(), class_id, NAMES[class_id]

def unpack_dependencies():
    os.system("printf 'class%d\\n' 0 1 2 3 4 5 6 7 8 9 > names.txt")
    NAMES.extend(open("names.txt").read().split())

def install_packages():
    os.system("echo installed >> installed.txt")

NAMES = []
handler = handler_factory(init_function=init_function, preprocess_function=preprocess, postprocess_function=postprocess,
                          install_packages=install_packages, unpack_dependencies=unpack_dependencies,
                          in_dim=6, layer_dims=[8, 8])
"""


def guide_model() -> torch.nn.Module:
    """The guide's MyNetwork, with weights."""
    names: dict[str, Any] = {}
    exec(MODEL_CODE, names)
    torch.manual_seed(5)
    model: torch.nn.Module = names["MyNetwork"](**SIZES)
    return model.eval()


def write_guide_files(directory: Path, handler: str = HANDLER, source: str = MODEL_CODE, **settings: Any) -> dict[str, Path]:
    """What base/build.sh takes for this model, by option."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.py").write_text(source)
    (directory / "handler_model.py").write_text(handler)
    (directory / "requirements.txt").write_text("")
    torch.save(guide_model().state_dict(), directory / "weights.pt")
    config = {"minWorkers": 1, "maxWorkers": 1, "responseTimeout": 60, "system": {"extraFiles": "source.tar.gz"}, **settings}
    (directory / "model-config.yml").write_text(yaml.safe_dump(config))
    # The guide's words: its .tar.gz is no gzip.
    subprocess.run(["tar", "-cf", "source.tar.gz", "model.py"], cwd=directory, check=True)
    (directory / "model.py").unlink()
    options = {"model_file": "handler_model.py", "config_file": "model-config.yml", "requirements_file": "requirements.txt"}
    options |= {"checkpoint_file": "weights.pt", "extra_files": "source.tar.gz"}
    return {option: directory / name for option, name in options.items()}


def build(cwd: Path, *arguments: str, script: Path = BASE / "build.sh") -> subprocess.CompletedProcess[str]:
    """base/build.sh, as from an environment that is active."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [os.path.join(".", os.path.relpath(script, cwd)), *arguments]
    return subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)


def build_guide_archive(store: Path, name: str, files: Mapping[str, Path]) -> str:
    """The name of an archive that base/build.sh writes into the store."""
    arguments = [text for option, path in files.items() for text in (f"--{option}", str(path))]
    built = build(store, "--model_name", name, "--version", "1.0", *arguments)
    assert built.returncode == 0, built.stdout + built.stderr
    return f"{name}.mar"


def form(text: str) -> bytes:
    """As `requests.post(url, data={"data": text})` sends it."""
    return urlencode({"data": text}).encode()


def expected_answer(sample: list[float]) -> tuple[float, int, str]:
    with torch.inference_mode():
        prediction = guide_model()(torch.tensor(sample).unsqueeze(0))[0].softmax(0)
    best = int(prediction.argmax())
    return prediction[best].item(), best, f"class{best}"


def decoded(body: bytes) -> tuple[float, int, str]:
    """What an answer of the guide's model says, which is spelled as jsonpickle spells it."""
    ((key, text),) = json.loads(body).items()
    assert key == "output"
    score, best, name = json.loads(text)["py/tuple"]
    want = '{\n  "output": "{\\"py/tuple\\": [%r, %d, \\"%s\\"]}"\n}' % (score, best, name)  # noqa: UP031  # braces abound
    assert body == want.encode()
    return score, best, name
