"""`persia-launcher model-server`: TorchServe's archives and APIs without its Java."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from persia.cli.failures import give_up
from persia.config import SecurityConfig, load_global_config
from persia.errors import ConfigError, InvalidInput, Unavailable
from persia.serving.process import DRAIN_SECONDS, set_up
from persia.system.signals import StopSignal

from .log_files import open_logs
from .registry import Registration
from .running import ModelServer
from .settings import Settings, read_settings

__all__ = ["model_server"]

log = logging.getLogger("persia.model_server")
PROGRAM = "model-server"


@click.command()
@click.option("--ts-config", type=click.Path(path_type=Path), help="A config.properties; $TS_CONFIG_FILE goes before it.")
@click.option("--model-store", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Where archives lie.")
@click.option("--models", multiple=True, help="`all`, `x.mar` or `name=x.mar`, of the store. May be repeated.")
@click.option("--enable-model-api", is_flag=True, help="Models may be registered and unregistered while it serves.")
@click.option("--start", is_flag=True, hidden=True)
@click.option("--foreground", is_flag=True, hidden=True)
@click.option("--ncs", "--no-config-snapshots", is_flag=True, hidden=True)
@click.option("--disable-token-auth", is_flag=True, help="Callers need none of TorchServe's keys.")
@click.option("--global-config", type=click.Path(), help="For its section `security`, instead of $PERSIA_GLOBAL_CONFIG.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False))
def model_server(
    ts_config: Path | None,
    model_store: Path | None,
    models: tuple[str, ...],
    enable_model_api: bool,
    disable_token_auth: bool,
    global_config: str | None,
    log_level: str,
    **_flags: bool,
) -> None:
    """Serves TorchServe's archives (.mar) with TorchServe's APIs: gRPC and REST, predictions and management."""
    signal = StopSignal()
    set_up(log, log_level)
    try:
        config = Path(os.environ["TS_CONFIG_FILE"]) if "TS_CONFIG_FILE" in os.environ else ts_config
        settings = read_settings(config)
        security = security_of(global_config)
        log_location = open_logs(os.environ)
    except (ConfigError, OSError) as error:
        give_up(PROGRAM, str(error))
    settings = replace(
        settings,
        store=model_store or settings.store,
        api_enabled=enable_model_api or settings.api_enabled,
        access=replace(settings.access, tokens=settings.access.tokens and not disable_token_auth),
    )
    try:
        server = ModelServer(settings, security, log_location)
    except (ConfigError, InvalidInput, Unavailable, OSError) as error:
        give_up(PROGRAM, str(error))
    server.start()
    signal.serving()
    server.load(wanted_at_start(settings, models))
    for name, address in server.addresses.items():
        log.info("%s listens at %s", name, address)
    print("Model server started.", flush=True)
    signal.wait()
    log.info("stopping")
    server.stop(DRAIN_SECONDS)
    sys.exit(0)


def security_of(path: str | None) -> SecurityConfig:
    """The section `security`; without a config, it asks for nothing. Raises ConfigError, OSError."""
    if path is None and not os.environ.get("PERSIA_GLOBAL_CONFIG"):
        return SecurityConfig()
    return load_global_config(path).security


def wanted_at_start(settings: Settings, models: tuple[str, ...]) -> list[Registration]:
    """What `--models` and `load_models` name: all of the store, or archives by name, with or without a name of their own."""
    named = [part.strip() for given in (models or (settings.load_models,)) for part in given.replace(",", " ").split()]
    if named == ["all"]:
        store = settings.store
        named = (
            sorted(path.name for path in store.iterdir() if path.name.endswith((".mar", ".tar.gz", ".tgz"))) if store else []
        )
    workers = settings.default_workers if settings.default_workers is not None else os.cpu_count() or 1
    wanted = []
    for part in named:
        name, _, url = part.rpartition("=")
        wanted.append(Registration(url=url, model_name=name or None, initial_workers=workers, at_start=True))
    return wanted
