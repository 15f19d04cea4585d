"""What a registration asks for, and what holds for models that do not say otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .unpacking import UnpackLimits
from .worker_output import WorkerOutput

__all__ = ["Registration", "ServerDefaults", "is_text"]

REQUIREMENTS_CACHE = Path("~/.cache/persia-serve/requirements").expanduser()


@dataclass(frozen=True)
class ServerDefaults:
    """What holds for all models: keys of config.properties."""

    store: Path | None = None
    allowed_urls: tuple[re.Pattern[str], ...] = ()
    response_timeout: int = 120
    startup_timeout: int = 120
    unregister_timeout: int = 120
    job_queue_size: int = 100
    max_response_bytes: int = 6_553_500
    default_workers: int = 0
    default_handler: str | None = None
    envelope: str = ""
    per_model: Mapping[str, Any] = field(default_factory=dict)  # model: version: its defaults
    installs_requirements: bool = False
    requirements_cache: Path = REQUIREMENTS_CACHE
    gpus: int = 0
    first_worker: int = 9000
    hidden_variables: re.Pattern[str] | None = None
    decodes_inputs: bool = True
    limits_image_pixels: bool = True
    output: WorkerOutput | None = None  # what workers write to; None: what the server does
    unpack_limits: UnpackLimits = field(default_factory=UnpackLimits)


@dataclass(frozen=True)
class Registration:
    """What a registration asks for; None: it does not say."""

    url: str
    model_name: str | None = None
    handler: str | None = None
    runtime: str | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    response_timeout: int | None = None
    startup_timeout: int | None = None
    initial_workers: int | None = None
    at_start: bool = False
    of_whole_store: bool = False  # that is loaded: the newest version of a model is its default
    # Of a registration that is restored: as it was left, whatever the archive says.
    workers: tuple[int, int] | None = None
    is_default: bool = False
    is_downloaded: bool = False


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON can name halves of characters, which are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
