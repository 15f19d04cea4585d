"""A model on TorchServe is asked what it is not used to, and whoever watches it hears of it."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import numpy as np

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.drift.state import StateDirectory
from tests.support.middlewares import Deployment
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import LAUNCHER, PERSIA_HANDLER, TorchServeRun, make_archive

FEATURES = ("user_id", "clicked", "bought", "query", "seen", "scaled_query")
SAMPLES, PER_WINDOW = 100, 600  # of a batch; of a window


def batches(count: int, shift: float, seed: int) -> list[bytes]:
    """With dense numbers of which the first is shifted, by so many of its deviations."""
    generator = np.random.default_rng(seed)

    def batch() -> bytes:
        ids = generator.integers(0, 500, (len(FEATURES), SAMPLES, 1), np.uint64)
        dense = generator.normal(0, 1, (SAMPLES, 5)).astype(np.float32)
        dense[:, 0] += shift
        features = [IDTypeFeature(name, list(each)) for name, each in zip(FEATURES, ids, strict=True)]
        return PersiaBatch(features, [NonIDTypeFeature(dense)], requires_grad=False).to_bytes()

    return [batch() for _ in range(count)]


def drift(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAUNCHER, "drift", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)


def usual(directory: Path) -> Path:
    """The file of what the model is used to."""
    options: list[str | Path] = []
    for i, batch in enumerate(batches(60, 0.0, 1)):
        (directory / f"{i}.bin").write_bytes(batch)
        options += ["--input", directory / f"{i}.bin"]
    out = directory / "usual.drift"
    made = drift("baseline", *options, "--window-samples", str(PER_WINDOW), "--out", out)
    assert made.returncode == 0, made.stderr
    return out


def metrics(state: Path) -> str:
    """What Prometheus would get."""
    command = [str(LAUNCHER), "drift", "status", "--state", str(state), "--metrics-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.fullmatch(r"metrics on port (\d+)\n", process.stderr.readline())
            assert found
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/metrics", timeout=PATIENCE) as response:
                return str(response.read().decode())
        finally:
            process.send_signal(signal.SIGINT)


def test_a_stream_that_shifts_is_an_alarm(
    torchserve: TorchServeRun, store: Path, deployment: Deployment, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    settings = {
        "addresses": [deployment.middleware.address],
        "drift_state": str(state),
        "drift_baseline": "usual.drift",
        "drift_window_samples": PER_WINDOW,
        "drift_share": 1,
    }
    archive = make_archive(store, "watched", handler=PERSIA_HANDLER, extra=[usual(tmp_path)], persia=settings)
    windows = StateDirectory(state, "watched", "1.0")
    with torchserve.management() as management, torchserve.client("watched") as client:
        management.register(archive)
        try:

            def ask(shift: float, seed: int) -> None:
                """For three windows more."""
                before = len(windows.read().pieces) if state.exists() else 0
                stream = iter(batches(200, shift, seed))

                def enough() -> bool:
                    client.predict(next(stream))
                    return len(windows.read().pieces) >= before + 3

                wait_until(enough, "three windows are written")

            ask(0.0, 2)
            shown = drift("status", "--state", state)
            assert shown.returncode == 0, shown.stdout
            ask(1.0, 3)
        finally:
            management.unregister("watched")
    shown = drift("status", "--state", state)
    assert shown.returncode == 1, shown.stdout
    assert shown.stdout.startswith("watched 1.0: drift (")
    drifted = {tuple(line.split()[:2]) for line in shown.stdout.splitlines() if " drift " in line[2:]}
    assert ("non_id_type_feature_anonymous[0]", "values") in drifted, shown.stdout
    text = metrics(state)
    assert 'persia_drift_model_state{model="watched",version="1.0"} 2.0' in text
    assert re.search(r'persia_drift_state\{model="watched",signal="values",version="1.0",what="[a-z_]*\[0\]"\} 2.0', text)
