"""`persia-launcher torchserve`: TorchServe from its start to its end, with what a user would otherwise have to know."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import click

from persia.cli.failures import one_line_failures
from persia.cli.log_lines import log_format_option, log_to_stderr
from persia.cli.option_groups import GroupedCommand
from persia.errors import InvalidInput, NotFound, PersiaError
from persia.seconds import Seconds
from persia.storage import Place
from persia.storage.arguments import DIRECTORY
from persia.storage.model_store import local_model_store
from persia.system.scratch import ScratchDirectory
from persia.system.signals import events_of_signals
from persia.torchserve.run.command_options import Capacity, Listeners, capacity_options, listener_options
from persia.torchserve.run.options import Options
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.restoring import plan_start
from persia.torchserve.run.running import run
from persia.torchserve.run.user_config import UserConfig, read_user_config
from persia.torchserve.settings import environment_threads
from persia.torchserve.state import MODELS_FILE
from persia.torchserve.wanted import read_wanted

__all__ = ["DRAIN_SECONDS", "GivenArguments", "read_arguments", "torchserve"]

log = logging.getLogger("torchserve")

DRAIN_SECONDS = 30.0
DEFAULT_WORKERS = 1
WORKERS_KEY = "default_workers_per_model"


def _take_over(context: click.Context, option: click.Parameter, path: Path | None) -> UserConfig:
    """What the file says takes the place of the options' defaults, so that the command line goes before it."""
    if path is None:
        return UserConfig()
    with one_line_failures():
        found = read_user_config(path)
    context.default_map = {**(context.default_map or {}), **found.options}
    return found


@click.command(cls=GroupedCommand, context_settings={"show_default": True})
@click.option(
    "--ts-config",
    "user_config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_take_over,
    help="A config.properties of TorchServe's, in the place of defaults: what an option here says goes before it.",
)
@click.option("--model-store", type=DIRECTORY, required=True, help="A directory, or a URL as s3://bucket/path, fetched now.")
@click.option(
    "--models",
    multiple=True,
    help="FILE.mar or NAME=FILE.mar in the model store, with commas or again; or `all`, whose newest version is the default. "
    "What is kept in --state goes before it.",
)
@listener_options
@click.option("--tokens/--no-tokens", default=True, help="Without, anyone may call: for clients that send none.")
@click.option("--model-api/--no-model-api", default=None, help="Registering models.  [default: with tokens]")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keys, logs, temporary files, and which models there are: the next start with it restores them.  [default: a new one]",
)
@click.option("--forget-state", is_flag=True, help="Start with --models alone, whatever was registered, scaled or chosen.")
@capacity_options
@click.option(
    "--smoke",
    multiple=True,
    metavar="[NAME=]FILE",
    help="A byte batch that each model must answer before it is called ready, or this one; again for others.",
)
@click.option("--ready-timeout", type=Seconds(), default=180.0, help="Seconds until all models are ready.")
@click.option("--drain", type=Seconds(), default=DRAIN_SECONDS, help="Seconds for requests that run, when it is stopped.")
@log_format_option
def torchserve(
    user_config: UserConfig,
    model_store: Place,
    models: tuple[str, ...],
    listeners: Listeners,
    tokens: bool,
    model_api: bool | None,
    state: Path | None,
    forget_state: bool,
    capacity: Capacity,
    smoke: tuple[str, ...],
    ready_timeout: float,
    drain: float,
    log_format: str,
) -> None:
    """Run TorchServe until a signal comes.

    It is ready when all workers of all models are, and says so on stderr with addresses and the file of tokens. The first
    SIGTERM or SIGINT drains and ends it, a second one kills it.
    """
    log_to_stderr("info", log_format)
    for note in user_config.notes:
        log.warning("config.properties: %s", note)
    events = events_of_signals()
    scratch = None
    if state is None:
        scratch = ScratchDirectory("persia-ts-")
        state = scratch.path / "ts"
    code = 2
    try:
        store = local_model_store(model_store)
        left = None if forget_state else read_wanted(state / MODELS_FILE)
        start = plan_start(store, models, capacity.workers, left)
        batches = _batches(smoke, {planned.name for planned in start.models})
        options = Options(
            model_store=store.absolute(),
            models=[(planned.name, planned.archive) for planned in start.models],
            host=listeners.host,
            port=listeners.port,
            management_port=listeners.management_port,
            health_port=listeners.chosen_health_port,
            http_port=listeners.http_port,
            http_management_port=listeners.http_management_port,
            workers=capacity.workers or DEFAULT_WORKERS,
            threads=capacity.threads or environment_threads() or 1,
            queue=capacity.queue,
            max_message_bytes=capacity.max_message_bytes,
            heap=capacity.heap,
            tokens=tokens,
            model_api=tokens if model_api is None else model_api,
            user_properties=_properties(user_config, capacity.workers),
        )
        code = run(TorchServe(options, state), start, events, batches, ready_timeout, drain)
    except (PersiaError, OSError) as error:
        log.error("%s", error)
    finally:
        if scratch is not None and code == 1:
            scratch.keep()  # its logs
    sys.exit(code)


class GivenArguments(NamedTuple):
    """What a command line of `persia-launcher torchserve` says, for whoever starts it with that. None: it does not say it."""

    drain_seconds: float
    port: int | None
    management_port: int | None


def read_arguments(arguments: Sequence[str]) -> GivenArguments:
    """Never raises: what the command will refuse counts as not said."""
    context = torchserve.make_context("torchserve", [*arguments], resilient_parsing=True)

    def given(name: str) -> Any:
        said = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        return context.params.get(name) if said else None

    drain = given("drain")
    return GivenArguments(DRAIN_SECONDS if drain is None else drain, given("port"), given("management_port"))


def _properties(user_config: UserConfig, workers: int | None) -> Mapping[str, str]:
    """--workers goes before the file's."""
    return {key: value for key, value in user_config.properties.items() if workers is None or key != WORKERS_KEY}


def _batches(wanted: Sequence[str], names: Set[str]) -> Mapping[str, bytes]:
    """Name of a model: what it must answer. A batch of its own goes before the one for all."""
    found: dict[str | None, Path] = {}
    for item in wanted:
        name, equals, file = item.partition("=")
        if Path(item).is_file() or not equals:
            given, path = None, Path(item)
        else:
            given, path = name, Path(file)
            if name not in names:
                raise NotFound(f"expected --smoke for a model that is loaded, got {item}: {', '.join(sorted(names)) or 'none'}")
        if given in found:
            raise InvalidInput(f"expected one --smoke for {given or 'all models'}, got {found[given]} and {path}")
        if not path.is_file():
            raise NotFound(f"expected a file with a byte batch for --smoke, got {path}")
        found[given] = path
    return {name: (found.get(name) or found[None]).read_bytes() for name in names if name in found or None in found}
