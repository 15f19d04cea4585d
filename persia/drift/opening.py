"""From a handler's settings to its DriftWatch."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persia.errors import CorruptFile
from persia.system.durable import write_file

if TYPE_CHECKING:
    from .watch import DriftWatch

__all__ = ["open_watch"]

log = logging.getLogger(__name__)


def open_watch(settings: Mapping[str, Any], model: str, version: str, directory: Path) -> DriftWatch | None:
    """None without the setting `drift_state`; nothing is imported then. directory: of the unpacked archive.

    A baseline that cannot be used is an error in the log, and no reason not to serve. Raises NotFound without datasketches.
    """
    if settings["drift_state"] is None:
        return None
    from .budget import Budget
    from .numbers import sketch_kind
    from .recorder import Recorder, Windows
    from .samples import Keeping, SampleStore
    from .state import StateDirectory
    from .watch import DriftWatch

    sketch_kind()
    state = StateDirectory(Path(settings["drift_state"]), model, version)
    if settings["drift_baseline"] is not None:
        _use_baseline(state, directory / settings["drift_baseline"])
    windows = Windows(
        seconds=settings["drift_window_seconds"],
        samples=settings["drift_window_samples"] or 0,
        history_bytes=settings["drift_history_mib"] << 20,
    )
    samples = None
    if settings["drift_samples"] != "none":
        keeping = Keeping(
            per_window=settings["drift_samples_per_window"],
            inputs=settings["drift_samples"] == "inputs",
            days=settings["drift_samples_days"],
        )
        samples = SampleStore(state.path, version, keeping)
    watch = DriftWatch(Recorder(state, windows), Budget(settings["drift_share"]), samples)
    atexit.register(watch.close)
    return watch


def _use_baseline(state: Any, path: Path) -> None:
    """Puts the archive's baseline beside the windows, where `persia-launcher drift` finds it."""
    from .baseline import read_baseline

    try:
        read_baseline(path)
        data = path.read_bytes()
        state.path.mkdir(parents=True, exist_ok=True)
        if not (state.baseline_path.exists() and state.baseline_path.read_bytes() == data):
            write_file(state.baseline_path, data)
    except (CorruptFile, OSError) as error:
        log.error("the baseline of the watch for drift cannot be used: %s", error)
