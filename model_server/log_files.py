"""The files of TorchServe's logs, where LOG_LOCATION and METRICS_LOCATION say so.

`ts_log.log` has the server's log, `model_log.log` what workers write, `access_log.log` a line for each answer,
`ts_metrics.log` the server's metrics, and `model_metrics.log` those of handlers. Without LOG_LOCATION, the first two go to the
server's own output, and without METRICS_LOCATION the last two go nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path

from persia.cli.log_lines import JsonLines

__all__ = ["open_logs"]

_MOST_BYTES, _OLD_FILES = 100 << 20, 5  # as TorchServe has them
_FORMAT = "%(asctime)s [%(levelname)-5s] %(threadName)s %(name)s - %(message)s"
_METRICS_FORMAT, _METRICS_TIME = "%(asctime)s,%(msecs)03d - %(message)s", "%Y-%m-%dT%H:%M:%S"


def open_logs(environment: Mapping[str, str], form: str, writes_metrics: bool) -> Path | None:
    """Where the access log belongs; None: nobody wants one. form: of the lines of server and workers. Raises OSError.

    writes_metrics: else their files stay empty, as in TorchServe where a page shows them.
    """
    metrics = _directory(environment, "METRICS_LOCATION")
    for name in ("ts_metrics", "model_metrics"):
        if metrics is not None:
            _write_to(metrics / f"{name}.log", name, logging.Formatter(_METRICS_FORMAT, _METRICS_TIME))
        if metrics is None or not writes_metrics:
            logging.getLogger(name).setLevel(logging.WARNING)
    logs = _directory(environment, "LOG_LOCATION")
    if logs is not None:
        lines = JsonLines() if form == "json" else logging.Formatter(_FORMAT)
        _write_to(logs / "ts_log.log", None, lines)
        _write_to(logs / "model_log.log", "model_log", lines)
    return logs


def _directory(environment: Mapping[str, str], variable: str) -> Path | None:
    location = environment.get(variable)
    if not location:
        return None
    directory = Path(location)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _write_to(path: Path, name: str | None, form: logging.Formatter) -> None:
    """name: of the logger whose lines go there alone; None: all other lines go there as well."""
    handler = RotatingFileHandler(path, maxBytes=_MOST_BYTES, backupCount=_OLD_FILES, encoding="utf-8")
    handler.setFormatter(form)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.propagate = False
