"""What config.properties says of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .properties import Properties

__all__ = ["MetricsSettings", "read_metrics"]


@dataclass(frozen=True)
class MetricsSettings:
    """They are shown whatever `metrics_mode` says; files get them where METRICS_LOCATION is set."""

    address: str = "127.0.0.1:8082"
    offered: bool = True
    config: Path | None = None  # a metrics.yaml, with the metrics of handlers
    detects: bool = False  # whether those of handlers are shown that no file names
    of_system: bool = True


def read_metrics(properties: Properties) -> MetricsSettings:
    """Raises ConfigError."""
    default = MetricsSettings()
    config = properties.text("metrics_config")
    properties.text("metrics_mode")
    return MetricsSettings(
        address=properties.address("metrics_address", default.address),
        offered=properties.flag("enable_metrics_api", True),
        config=Path(config) if config else None,
        detects=properties.flag("model_metrics_auto_detect"),
        of_system=not properties.flag("disable_system_metrics"),
    )
