"""`persia-launcher model-server`: TorchServe's archives and APIs without its Java."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import click

from persia.cli.failures import give_up
from persia.cli.log_lines import log_format_option
from persia.config import SecurityConfig, load_global_config
from persia.errors import ConfigError, InvalidInput, Unavailable
from persia.serving.process import DRAIN_SECONDS, set_up
from persia.storage import Place
from persia.storage.arguments import DIRECTORY
from persia.storage.model_store import local_model_store
from persia.system.signals import StopSignal

from .background import Background, report, stop_server
from .devices import count_gpus
from .log_files import open_logs
from .running import ModelServer
from .settings import Settings, config_file, read_settings
from .startup import named_models, of_snapshot
from .state import StateDirectory

__all__ = ["model_server"]

log = logging.getLogger("persia.model_server")
PROGRAM = "model-server"
_LOOK_SECONDS = 0.05

# Options of torchserve that mean nothing here, and why.
_WITHOUT_EFFECT = {
    "log_config": "--log-config is for Java's log4j: --log-level says how much is logged here",
    "cpp_log_config": "--cpp-log-config is for a C++ backend, and handlers are Python here",
    "plugins_path": "--plugins-path names plugins in Java, and there is no Java here",
    "workflow_store": "--workflow-store: workflows (.war) are not served here",
}


class TorchServeCommand(click.Command):
    """Takes `--models a.mar b=b.mar` as torchserve does, which click would want as `--models a.mar --models b=b.mar`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        takes_more = False
        for argument in args:
            if argument.startswith("-"):
                takes_more = argument == "--models"
            elif takes_more and spread[-1] != "--models":
                spread.append("--models")
            spread.append(argument)
        return super().parse_args(ctx, spread)


@click.command(cls=TorchServeCommand)
@click.option("--ts-config", type=click.Path(path_type=Path), help="A config.properties; $TS_CONFIG_FILE goes before it.")
@click.option("--model-store", type=DIRECTORY, help="Where archives lie: a directory, or a URL as s3://bucket/path.")
@click.option("--models", multiple=True, help="`all`, or `x.mar` and `name=x.mar` of the store, with blanks between them.")
@click.option("--enable-model-api", is_flag=True, help="Models may be registered and unregistered while it serves.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Where changes made over the API are kept.")
@click.option("--start", "starts", is_flag=True, help="In the background, unless with --foreground.")
@click.option("--stop", "stops", is_flag=True, help="Ends the server that --start has started; --foreground waits for it.")
@click.option("--foreground", is_flag=True, help="Stay in the foreground, which is so anyway without --start.")
@click.option("--version", "-v", "asks_version", is_flag=True, help="Say which one this is.")
@click.option("--ncs", "--no-config-snapshots", is_flag=True, help="As it always is: no snapshots are written.")
@click.option("--disable-token-auth", "--dt", is_flag=True, help="Callers need none of TorchServe's keys.")
@click.option("--global-config", type=click.Path(), help="For its section `security`, instead of $PERSIA_GLOBAL_CONFIG.")
@click.option("--log-config", hidden=True)
@click.option("--cpp-log-config", hidden=True)
@click.option("--plugins-path", "--ppath", hidden=True)
@click.option("--workflow-store", hidden=True)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False))
@log_format_option
def model_server(
    ts_config: Path | None,
    model_store: Place | None,
    models: tuple[str, ...],
    enable_model_api: bool,
    disable_token_auth: bool,
    global_config: str | None,
    state: Path | None,
    starts: bool,
    stops: bool,
    foreground: bool,
    asks_version: bool,
    log_level: str,
    log_format: str,
    **others: str | bool | None,
) -> None:
    """Serves TorchServe's archives (.mar) with TorchServe's APIs: gRPC and REST, predictions and management."""
    if asks_version:
        click.echo(f"persia-serve {version('persia-serve')}, a model server with the APIs of TorchServe 0.12.0")
        return
    try:
        if stops:
            click.echo(stop_server(waits=foreground))
            return
        ready_pipe: int | None = None
        if starts:
            background = Background()
            if not foreground and (ready_pipe := background.detach()) is None:
                return
            background.note()
        set_up(log, log_level, log_format)
        settings = _settings(ts_config, model_store, enable_model_api, disable_token_auth)
        for note in (*settings.notes, *(words for option, words in _WITHOUT_EFFECT.items() if others[option])):
            log.warning("%s", note)
        in_background = {"LOG_LOCATION": "logs", "METRICS_LOCATION": "logs"} if ready_pipe is not None else {}
        logs = open_logs({**in_background, **os.environ}, log_format, settings.metrics.mode != "prometheus")
        _serve(settings, _security(global_config), models, state, logs, ready_pipe, log_format)
    except (ConfigError, InvalidInput, Unavailable, OSError) as error:
        give_up(PROGRAM, str(error))


def _settings(ts_config: Path | None, model_store: Place | None, enable_model_api: bool, disable_token_auth: bool) -> Settings:
    """The command line goes before the file. Raises ConfigError, OSError."""
    settings = read_settings(config_file(ts_config))
    return replace(
        settings,
        store=local_model_store(model_store) if model_store is not None else settings.store,
        api_enabled=enable_model_api or settings.api_enabled,
        gpus=count_gpus() if settings.gpus is None else settings.gpus,
        access=replace(settings.access, tokens=settings.access.tokens and not disable_token_auth),
    )


def _security(path: str | None) -> SecurityConfig:
    """The section `security`; without a config, it asks for nothing. Raises ConfigError, OSError."""
    if path is None and not os.environ.get("PERSIA_GLOBAL_CONFIG"):
        return SecurityConfig()
    return load_global_config(path).security


def _serve(
    settings: Settings,
    security: SecurityConfig,
    models: Sequence[str],
    state: Path | None,
    logs: Path | None,
    ready_pipe: int | None,
    log_format: str,
) -> None:
    """Until a signal comes. ready_pipe: of who waits to hear that it listens. Raises PersiaError, OSError."""
    signal = StopSignal()
    snapshot = of_snapshot(settings.snapshot) if settings.snapshot else None
    server = ModelServer(settings, security, StateDirectory(state) if state is not None else None, logs)
    server.load(named_models(settings, models, settings.gpus or 0) if snapshot is None else snapshot)
    server.start()
    signal.serving()
    for name, address in server.addresses.items():
        log.info("%s listens at %s", name, address)
    _say_started(log_format)
    if ready_pipe is not None:
        report(ready_pipe, (logs or Path()) / "output.log")
    if _becomes_ready(server, signal):
        log.info("%s", server.ready_line(logs))
        signal.wait()
    log.info("stopping")
    server.stop(DRAIN_SECONDS)
    sys.exit(0)


def _say_started(log_format: str) -> None:
    """As TorchServe does; among lines of JSON it is one of them, as whoever reads both streams may read nothing else."""
    if log_format == "json":
        log.info("Model server started.")
    else:
        print("Model server started.", flush=True)


def _becomes_ready(server: ModelServer, signal: StopSignal) -> bool:
    """False: it is asked to end before."""
    while not server.registry.is_ready():
        if signal.wait_for(_LOOK_SECONDS):
            return False
    return True
