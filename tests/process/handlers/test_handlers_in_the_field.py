"""Handlers and a client of Persia's users, letter by letter, before real shards: in TorchServe and in the model server."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.process.torchserve.test_guide_client import SEND_FILE, scores_that_the_client_prints
from tests.support.golden import arrays_of, golden
from tests.support.in_process import LocalDeployment
from tests.support.model_servers import ModelServerRun
from tests.support.places import DATA
from tests.support.torchserves import MIX, TorchServeRun, assert_close, make_archive

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]

# The inference guide, whose handler is of the first generation, and a handler of the last release. Named as text, or
# tools would check them for style and types, and format even the guide's.
FIELD = DATA / "handlers"
GUIDE = (FIELD / "persia_inference_guide.md.txt").read_text()
GUIDE_HANDLER, _, GUIDE_CLIENT = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
LAST_RELEASE_HANDLER = (FIELD / "handler_last_release.py.txt").read_text()
SCORED = [path for path in golden("mix/golden/*.npz") if "out" in arrays_of(path)]
GUIDE_MODEL = "you_model_name"  # as the guide calls it


class Sums(torch.nn.Module):
    """For the guide's 26 features. Its scores can be told from what was sent: of ids without a row come zeros."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        assert len(embeddings) == 26
        return torch.cat([dense[0], torch.cat(embeddings, 1).float()], 1).sum(1)


def model_with_the_guides_features(directory: Path) -> Path:
    """golden/mix with 26 more features at the end, where they change no sign of the others."""
    config = yaml.safe_load((MIX / "embedding_config.yml").read_text())
    config["slots_config"] |= {f"feature{i + 1}": {"dim": 8} for i in range(26)}
    (directory / "embedding_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    (directory / "ckpt").symlink_to(MIX / "ckpt")
    return directory


@pytest.fixture(scope="module", params=["torchserve", "model-server"])
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where it is asked over gRPC, without tokens, which those clients do not know of."""
    directory = tmp_path_factory.mktemp("served")
    dense = directory / "dense.pth"  # the guide's suffix
    shutil.copy(MIX / "ckpt" / "jit_dense.pt", dense)
    torch.jit.script(Sums()).save(str(directory / "sums.pth"))
    handler = directory / "persia_handler.py"
    store = directory / "store"
    handler.write_text(LAST_RELEASE_HANDLER)
    models = [make_archive(store, "last", handler=handler, model=dense)]
    handler.write_text(GUIDE_HANDLER)
    models.append(make_archive(store, "guide", handler=handler, model=dense))
    models.append(make_archive(store, GUIDE_MODEL, handler=handler, model=directory / "sums.pth"))
    with LocalDeployment(model_with_the_guides_features(tmp_path_factory.mktemp("model")), 2) as deployment:
        environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": deployment.middleware}
        if request.param == "torchserve":
            with TorchServeRun(directory, store, ["--models", ",".join(models), "--no-tokens"], environment) as torchserve:
                yield torchserve.wait_ready().address
        else:
            with ModelServerRun(directory, store, "--models", *models, environment=environment) as run:
                run.wait_ready()
                yield run.places["grpc_inference"]


@pytest.mark.parametrize("path", SCORED, ids=lambda path: path.stem)
@pytest.mark.parametrize("model", ["guide", "last"])
def test_each_handler_answers_with_the_scores_of_real_persia(served: str, tmp_path: Path, model: str, path: Path) -> None:
    scores = scores_that_the_client_prints(served, tmp_path, SEND_FILE, model, path.with_suffix(".bin"))
    assert_close(scores, arrays_of(path)["out"])


def test_the_guides_client_gets_a_score_for_each_sample_that_it_makes_up(served: str, tmp_path: Path) -> None:
    imports = "import numpy as np\nfrom persia.prelude import PyPersiaBatchData\n"
    scores = scores_that_the_client_prints(served, tmp_path, f"{imports}np.random.seed(1)\n{GUIDE_CLIENT}")
    dense = np.random.RandomState(1).rand(128, 13).astype(np.float32)  # what the guide makes first
    np.testing.assert_allclose(scores, dense.sum(1), rtol=1e-5)
