"""`persia-launcher up`: a whole deployment on this machine, from one global_config.yaml."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from persia.cli.failures import give_up
from persia.cli.log_lines import log_format_option
from persia.config import (
    EMBEDDING_CONFIG_VARIABLE,
    GLOBAL_CONFIG_VARIABLE,
    GlobalConfig,
    load_embedding_config,
    load_global_config,
)
from persia.deployment.check import passes_check
from persia.deployment.child import Interrupted
from persia.deployment.deployment import Deployment
from persia.deployment.front import Front
from persia.deployment.plan import DeploymentPlan, check_local
from persia.errors import PersiaError, Unavailable
from persia.security import ClientSecurity
from persia.serving.process import set_up
from persia.storage import Place
from persia.storage.arguments import DIRECTORY
from persia.storage.model_store import local_model_store
from persia.system.address import free_ports
from persia.system.lock import lock_file
from persia.system.scratch import ScratchDirectory
from persia.system.signals import StopSignal
from persia.torchserve.state import MODELS_FILE

__all__ = ["up"]

log = logging.getLogger("up")

PROGRAM = "up"
_WATCH_SECONDS = 0.2


@click.command(context_settings={"show_default": True})
@click.option("--global-config", envvar=GLOBAL_CONFIG_VARIABLE, show_envvar=True, type=click.Path(path_type=Path))
@click.option("--embedding-config", envvar=EMBEDDING_CONFIG_VARIABLE, show_envvar=True, type=click.Path(path_type=Path))
@click.option("--shards", type=click.IntRange(1), default=1, help="How many embedding servers, if the config names none.")
@click.option("--check/--no-check", "checked", default=True, help="Look at everything first, as `persia-launcher check` does.")
@click.option("--middleware-port", type=click.IntRange(0, 65_535), default=8887, help="0: any free one.")
@click.option(
    "--model-store",
    type=DIRECTORY,
    help="Of the front: a directory, or a URL as s3://bucket/path, whose archives are fetched now. Without it no front is "
    "started.",
)
@click.option(
    "--front",
    type=click.Choice([front.value for front in Front]),
    default=Front.TORCHSERVE.value,
    help="Which server takes requests and has handlers answer them.",
)
@click.option("--models", default="all", help="Archives of the store to load, with commas between them.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="For logs, the front's tokens, and which models it has: the next start restores them; else a temporary directory.",
)
@click.option("--forget-state", is_flag=True, help="Start with --models alone, whatever was registered, scaled or chosen.")
@click.option(
    "--metrics-port-base",
    type=click.IntRange(1, 65_535),
    help="Offer metrics: the embedding servers in order from this port on, then the middleware.  "
    "[default: if the global config has enable_metrics, free ports, which are kept in --state/targets.json]",
)
@click.option(
    "--ts-config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A config.properties, for the front."
)
@log_format_option
@click.argument("front_arguments", nargs=-1)
def up(
    global_config: Path | None,
    embedding_config: Path | None,
    shards: int,
    checked: bool,
    middleware_port: int,
    model_store: Place | None,
    front: str,
    models: str,
    state: Path | None,
    forget_state: bool,
    metrics_port_base: int | None,
    ts_config: Path | None,
    log_format: str,
    front_arguments: tuple[str, ...],
) -> None:
    """Starts embedding servers, the middleware and a home for handlers, watches them, and stops them on Ctrl-C.

    The embedding servers are those that the global config names, which must be on this machine (127.0.0.1). What dies is
    started again. What stands after `--` goes to `persia-launcher torchserve`, or to the other --front.
    """
    set_up(log, "info", log_format)
    try:
        config = load_global_config(global_config)
        load_embedding_config(embedding_config)
        assert global_config is not None and embedding_config is not None  # or they could not be loaded
        state, scratch = _state_directory(state)
        servers = config.common_config.infer_config.servers
        if not servers:
            servers = tuple((f"127.0.0.1:{port}",) for port in free_ports(shards))
            global_config = _with_servers(config, servers, state / "global_config.with_servers.yaml")
        check_local([address for replicas in servers for address in replicas])
        plan = DeploymentPlan(
            state=state,
            global_config=global_config.resolve(),
            embedding_config=embedding_config.resolve(),
            servers=servers,
            middleware=f"127.0.0.1:{middleware_port or free_ports(1, range(25_000, 32_768))[0]}",
            model_store=local_model_store(model_store).resolve() if model_store is not None else None,
            models=models.split(","),
            front=Front(front),
            front_arguments=front_arguments,
            metrics=config.common_config.metrics_config.enable_metrics or metrics_port_base is not None,
            metrics_port_base=metrics_port_base,
            ts_config=ts_config and ts_config.resolve(),
            log_format=log_format,
            security=ClientSecurity(config.security),
        )
        if forget_state:
            (plan.front_state / MODELS_FILE).unlink(missing_ok=True)
    except (PersiaError, OSError) as error:
        give_up(PROGRAM, str(error))
    if checked:
        _check(plan)
    try:
        _run(plan)
    finally:
        if scratch is not None:
            scratch.keep()  # its logs


def _check(plan: DeploymentPlan) -> None:
    if not passes_check(plan):
        click.echo(f"{PROGRAM}: the check failed, so nothing was started: mend what it names, or say --no-check", err=True)
        sys.exit(1)


def _state_directory(given: Path | None) -> tuple[Path, ScratchDirectory | None]:
    """The directory that is given, or one that is made. Raises Unavailable, OSError."""
    if given is not None:
        return _taken(given), None
    scratch = ScratchDirectory("persia-up-")
    return _taken(scratch.path), scratch


def _taken(state: Path) -> Path:
    """Makes the directory, if need be, and locks it until this process ends. Raises Unavailable, OSError."""
    state = state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    if lock_file(state / "up.lock") is None:
        raise Unavailable(f"another `up` uses the state directory {state}: stop it, or choose another --state")
    return state


def _run(plan: DeploymentPlan) -> None:
    """Until a signal comes. Ends the process with 1 if something does not start."""
    stop = StopSignal()
    stop.serving()
    deployment = Deployment(plan, click.echo, stop.wait_for)
    try:
        deployment.start()
        click.echo(f"{PROGRAM}: logs are in {plan.state}; Ctrl-C stops all")
        while not stop.wait_for(_WATCH_SECONDS):
            deployment.watch()
    except Interrupted:
        pass
    except PersiaError as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        sys.exit(1)
    finally:
        deployment.stop()


def _with_servers(config: GlobalConfig, servers: tuple[tuple[str, ...], ...], path: Path) -> Path:
    """The config as a file that names these servers. path: not as a user's own is named, which `--state .` would overwrite."""
    text = _without_nones(msgspec.to_builtins(config))
    text["common_config"]["infer_config"]["servers"] = [replicas[0] for replicas in servers]
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    return path


def _without_nones(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nones(item) for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value
