"""A handler leaves what it was asked and answered, as its settings say."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia import _core
from persia.drift.baseline import baseline_of_windows, write_baseline
from persia.drift.ids import Heads
from persia.drift.numbers import Numbers
from persia.drift.opening import open_watch
from persia.drift.state import StateDirectory, windows_of
from persia.errors import ConfigError
from persia.handlers.persia_handler import PersiaHandler
from persia.torchserve.settings import handler_settings
from tests.support.drift_streams import USUAL
from tests.support.golden import arrays_of
from tests.support.middlewares import Deployment
from tests.support.torchserves import MIX, assert_close

BATCH = MIX / "golden" / "batch16_0.bin"
SCORES = arrays_of(MIX / "golden" / "batch16_0.npz")["out"]


class Context:
    """What TorchServe hands to a handler, as far as ours asks for it."""

    def __init__(self, directory: Path, persia: dict[str, Any]) -> None:
        model = {"modelName": "ctr", "modelVersion": "2.0", "serializedFile": "model.pt"}
        self.manifest = {"model": model}
        self.system_properties = {"model_dir": str(directory), "gpu_id": None}
        self.model_yaml_config = {"persia": persia}

    def get_all_request_header(self, i: int) -> dict[str, str]:
        return {}

    def get_request_id(self, i: int) -> str:
        return f"request-{i}"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A directory as TorchServe unpacks an archive into."""
    made = tmp_path / "archive"
    made.mkdir()
    (made / "model.pt").write_bytes((MIX / "ckpt" / "jit_dense.pt").read_bytes())
    return made


@pytest.fixture
def handler() -> Iterator[PersiaHandler]:
    made = PersiaHandler()
    level = logging.getLogger().level
    yield made
    logging.getLogger().setLevel(level)
    if made.drift is not None:
        made.drift.close()
    made.persia_context.close()
    made.threads.shutdown()


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
def test_a_handler_leaves_what_it_was_asked_and_answered(
    archive: Path, handler: PersiaHandler, deployment: Deployment, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    settings = {"addresses": [deployment.middleware.address], "drift_state": str(state), "drift_share": 1}
    handler.initialize(Context(archive, settings))
    handler.persia_context.wait_for_serving(60)
    data = BATCH.read_bytes()
    for _ in range(3):
        answers = handler.handle([{"batch": data, "format": b"raw"}] * 2, Context(archive, {}))
    for answer in answers:
        assert isinstance(answer, bytes)
        assert_close(np.frombuffer(answer, "<f4"), SCORES)
    assert handler.drift is not None
    handler.drift.close()
    (window,) = windows_of(StateDirectory(state, "ctr", "2.0").read().pieces)
    assert (window.seen, window.samples, window.dropped) == (6 * 16, 6 * 16, 0)
    batch = _core.decode_batch(data)
    for feature in batch.features:
        heads = window.sketches[feature.name, "heads"]
        assert isinstance(heads, Heads)
        assert heads.total == 6 * len(feature.positions)
        assert (feature.name, "missing") in window.sketches
    scores = window.sketches["score", "scores"]
    assert isinstance(scores, Numbers)
    assert scores.mean == pytest.approx(float(SCORES.mean()), abs=1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
def test_without_the_setting_there_is_no_watch(archive: Path, handler: PersiaHandler, deployment: Deployment) -> None:
    handler.initialize(Context(archive, {"addresses": [deployment.middleware.address]}))
    assert handler.drift is None


def settings_of(state: Path, **persia: Any) -> dict[str, Any]:
    return handler_settings({"persia": {"drift_state": str(state), **persia}}, environment={})


def test_the_archives_baseline_is_put_beside_the_windows(tmp_path: Path) -> None:
    baseline = baseline_of_windows(USUAL.windows(5, np.random.default_rng(1)))
    write_baseline(tmp_path / "usual.drift", baseline)
    for _ in range(2):  # it is there already the second time
        watch = open_watch(settings_of(tmp_path / "state", drift_baseline="usual.drift"), "ctr", "1.0", tmp_path)
        assert watch is not None
        watch.close()
        found = StateDirectory(tmp_path / "state", "ctr", "1.0").baseline()
        assert found is not None
        assert found.limits == baseline.limits


def test_a_broken_baseline_is_no_reason_not_to_serve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "usual.drift").write_bytes(b"?")
    watch = open_watch(settings_of(tmp_path / "state", drift_baseline="usual.drift"), "ctr", "1.0", tmp_path)
    assert watch is not None
    watch.close()
    assert "the baseline of the watch for drift cannot be used" in caplog.text
    assert StateDirectory(tmp_path / "state", "ctr", "1.0").baseline() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drift_state": "relative"}, "expected an absolute path, got 'relative'"),
        ({"drift_share": 2}, "expected a number over 0, and up to 1, got 2"),
        ({"drift_share": True}, "expected a number over 0, and up to 1, got True"),
        ({"drift_samples": "all"}, "expected none or scores or inputs, got 'all'"),
        ({"drift_window_seconds": 0}, "expected a positive number, got 0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        handler_settings({"persia": settings}, environment={})


def test_a_process_that_ends_leaves_its_last_window(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from persia.drift.opening import open_watch
from persia.drift.sketching import Texts
from persia.torchserve.settings import handler_settings
settings = handler_settings({{"persia": {{"drift_state": {str(tmp_path)!r}}}}})
watch = open_watch(settings, "ctr", "1.0", Path("."))
assert watch.wants(1)
watch.saw_texts(["a"], lambda: Texts([[1, 2]]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    (window,) = windows_of(StateDirectory(tmp_path, "ctr", "1.0").read().pieces)
    assert (window.seen, window.samples) == (1, 1)
