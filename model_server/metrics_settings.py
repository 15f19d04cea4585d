"""What config.properties says of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .properties import Properties

__all__ = ["MetricsSettings", "read_metrics"]

MODES = ("log", "prometheus", "legacy")


@dataclass(frozen=True)
class MetricsSettings:
    """Ours are shown whatever `metrics_mode` says; files get those of handlers where METRICS_LOCATION is set."""

    address: str = "127.0.0.1:8082"
    offered: bool = True
    config: Path | None = None  # a metrics.yaml, with the metrics of handlers
    detects: bool = False  # whether those of handlers are shown that no file names
    of_system: bool = True
    interval: int = 60  # seconds between two looks at the machine for the log
    mode: str = "log"  # of MODES: TorchServe shows none of its own, all of them, or three and none of handlers


def read_metrics(properties: Properties) -> MetricsSettings:
    """Raises ConfigError."""
    default = MetricsSettings()
    config = properties.text("metrics_config")
    if config and not Path(config).is_file():
        raise properties.wrong("metrics_config", "the name of a file")
    mode = (properties.text("metrics_mode") or "").lower()
    mode = mode if mode in MODES else default.mode  # as TorchServe takes it
    return MetricsSettings(
        address=properties.address("metrics_address", default.address),
        offered=properties.flag("enable_metrics_api", True),
        config=Path(config) if config else None,
        detects=properties.flag("model_metrics_auto_detect"),
        of_system=not properties.flag("disable_system_metrics"),
        interval=properties.number("metric_time_interval", default.interval),
        mode=mode,
    )
