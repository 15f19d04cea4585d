"""Hypothesis without deadlines; where CI is set, with the same examples in every run. Signals as a terminal leaves them."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# In the background of a shell, or under nohup, these are ignored, also by all that the tests start and then send one.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# Files whose few tests wait for a TorchServe, or train: they come first, so that no process is left with one at the end.
SLOW = (
    *("archive_transformers", "crash_loop", "custom_handler", "demo", "dense_models", "export", "from_pytorch"),
    *("golden_scores", "guide_client", "handler", "http_json", "infer_command", "infer_end_to_end", "mixed_checkpoints"),
    *("model_authors", "persia_handler", "requests_together", "stack", "swap", "text_archives", "torchserve", "transformers"),
    *("updates_under_load",),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.name.startswith(tuple(f"test_{name}" for name in SLOW)))
