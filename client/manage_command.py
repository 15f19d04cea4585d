"""`persia-launcher manage COMMAND`: the dense models on a running TorchServe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from persia.cli.failures import CommandGroup, ending_unwinds
from persia.cli.local_paths import LocalPath
from persia.cli.security_options import SecurityOptions, security_options
from persia.config import SecurityConfig
from persia.errors import InvalidInput, NotFound, PersiaError, Unavailable
from persia.rpc.grpcio import GrpcioSecurity
from persia.seconds import Seconds
from persia.torchserve.java_properties import read_properties
from persia.torchserve.management import Management
from persia.torchserve.model import Model
from persia.torchserve.tokens import Tokens
from persia.torchserve.wanted import differences

from .dense_switch import DenseSwitch
from .predict import Client
from .swap import DRAIN_SECONDS, put_into_store, swap

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_STORE = LocalPath(exists=True, file_okay=False, path_type=Path)
_SECONDS = Seconds()
_PAUSE_SECONDS = 0.05
_SECURITY = f"{__name__}.security"
_WAIT = click.option("--wait", type=_SECONDS, default=150.0, show_default=True, help="Seconds for workers to start.")
_STORE_OPTION = click.option("--model-store", type=_STORE, help="Copy ARCHIVE, a path, into this directory first.")


@click.group(cls=CommandGroup, context_settings={"show_default": True})
@click.option("--address", default="127.0.0.1:7071", help="Of TorchServe's management over gRPC.")
@click.option("--token-file", envvar="PERSIA_TOKEN_FILE", show_envvar=True, help="TorchServe's key_file.json.")
@click.option("--timeout", type=_SECONDS, default=10.0, help="Seconds for a call that starts no worker.")
@security_options
@click.pass_context
def manage(context: click.Context, address: str, token_file: str | None, timeout: float, security: SecurityOptions) -> None:
    """Manage the dense models of a TorchServe or a model server."""
    section = context.meta[_SECURITY] = security.security()
    shown = GrpcioSecurity(section)
    tokens = Tokens(file=token_file, otherwise=shown.metadata)
    context.obj = context.with_resource(Management(address, tokens, timeout, security=shown))


@manage.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_models(management: Management, as_json: bool) -> None:
    """Show every version of every model, and where it is not as it was left."""
    models = management.list()
    _print(models, as_json)
    wanted = management.state.wanted() if management.state is not None else None
    for line in differences(wanted, models) if wanted is not None else ():
        click.echo(line, err=as_json)


@manage.command()
@click.argument("name")
@click.option("--version", help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def describe(management: Management, name: str, version: str | None, as_json: bool) -> None:
    """Show the versions of model NAME, and their workers."""
    models = management.describe(name, version)
    _print(models, as_json)
    if not as_json:
        for model in models:
            for worker in model.workers:
                click.echo(f"  {model.version} worker {worker['id']}: {worker['status']}, process {worker['pid']}")


@manage.command()
@click.argument("archive")
@click.option("--name", help="Instead of the one in the archive.")
@click.option("--workers", type=click.IntRange(1), help="Instead of those that the archive says, or 1.")
@_STORE_OPTION
@_WAIT
@click.pass_obj
def register(
    management: Management, archive: str, name: str | None, workers: int | None, model_store: Path | None, wait: float
) -> None:
    """Register ARCHIVE, a file of the model store, and wait until its workers are READY."""
    with ending_unwinds(), _in_store(management, archive, model_store) as stored:
        model = management.register(stored, name, workers, wait)
    role = "the default" if model.is_default else "not the default (see set-default, swap)"
    click.echo(f"{model.name} {model.version}: registered with {model.ready} workers, {role}")


@manage.command()
@click.argument("name")
@click.option("--version", help="Needed if there are several.")
@click.pass_obj
def unregister(management: Management, name: str, version: str | None) -> None:
    """Unregister a version of model NAME, at once: calls that it has are never answered."""
    management.unregister(name, version)
    click.echo(f"{name} {version or ''}".rstrip() + ": unregistered")


@manage.command()
@click.argument("name")
@click.argument("workers", type=click.IntRange(1))
@click.option("--version", help="Instead of the default.")
@_WAIT
@click.pass_obj
def scale(management: Management, name: str, workers: int, version: str | None, wait: float) -> None:
    """Set the number of WORKERS of model NAME, and wait until they are READY."""
    model = management.scale(name, workers, version, wait)
    click.echo(f"{name} {model.version}: {model.ready} workers")


@manage.command("set-default")
@click.argument("name")
@click.argument("version")
@click.pass_obj
def set_default(management: Management, name: str, version: str) -> None:
    """Make VERSION of model NAME answer the requests that name none."""
    management.set_default(name, version)
    click.echo(f"{name} {version}: the default")


@manage.command("swap")
@click.argument("name")
@click.argument("archive")
@click.option("--drain", type=_SECONDS, default=DRAIN_SECONDS, show_default=True, help="At least any caller's timeout.")
@click.option("--keep-old", is_flag=True, help="Leave the old version registered.")
@click.option("--smoke", type=_FILE, help="A byte batch that the new version must answer first.")
@click.option("--inference-address", default="127.0.0.1:7070", show_default=True, help="For --smoke.")
@click.option("--epochs", type=_STORE, help="The incremental_dir: rows are of epochs for the new version from then on.")
@_STORE_OPTION
@_WAIT
@click.pass_context
def swap_command(
    context: click.Context,
    name: str,
    archive: str,
    drain: float,
    keep_old: bool,
    smoke: Path | None,
    inference_address: str,
    epochs: Path | None,
    model_store: Path | None,
    wait: float,
) -> None:
    """Let the version in ARCHIVE take the place of model NAME's default, without a lost request."""
    assert context.parent is not None
    token_file = context.parent.params["token_file"]
    batch = smoke.read_bytes() if smoke is not None else None
    section: SecurityConfig = context.meta[_SECURITY]

    def check(model: Model) -> None:
        if batch is not None:
            with Client(name, inference_address, version=model.version, token_file=token_file, security=section) as client:
                _predict_soon(client, batch, wait if epochs is not None else 0.0)

    management: Management = context.obj
    with ending_unwinds(), _in_store(management, archive, model_store) as stored:
        switch = DenseSwitch(epochs) if epochs is not None else None
        new = swap(
            management,
            name,
            stored,
            wait=wait,
            drain=drain,
            check=check,
            keep_old=keep_old,
            switch=switch,
            report=click.echo,
        )
    click.echo(f"{name} {new.version}: swapped")


def _predict_soon(client: Client, batch: bytes, seconds: float) -> None:
    """Waits so long for embedding servers that have not built the epoch yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            client.predict(batch)
            return
        except Unavailable:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE_SECONDS)


@contextmanager
def _in_store(management: Management, archive: str, store: Path | None) -> Iterator[str]:
    """The name of an archive in the model store. If what is done with it fails, a copy made here goes, else the error names it.

    A TorchServe that starts with all models takes the newest version in its store, also one that has failed before.
    """
    if store is None and "/" in archive:
        raise InvalidInput(f"expected the name of a file in the model store, or a path and --model-store, got {archive}")
    path = Path(archive)
    if store is not None:
        management.list()  # that it can be asked is known before anything is copied
        _check_store(store)
    copy = store / path.name if store is not None and put_into_store(path, store) else None
    try:
        yield path.name
    except BaseException as error:
        left = _left_in_store(management, path.name, copy, error)
        if left and isinstance(error, (PersiaError, OSError)):
            raise click.ClickException(f"{error}; {left}") from error  # as CommandGroup does, with more to say
        if left:
            click.echo(left, err=True)
        raise


def _check_store(store: Path) -> None:
    """TorchServe takes archives from its own store only: from another one it would not get this one, but one of its name.

    The launcher leaves TorchServe's configuration beside the tokens, where it can be read on the same machine.
    """
    group = click.get_current_context().parent
    assert group is not None
    if (token_file := group.params["token_file"]) is None:
        return
    try:
        entries = read_properties(Path(token_file).with_name("config.properties"))
        (own,) = (Path(entry.value) for entry in entries if entry.key == "model_store")
        same = own.samefile(store)
    except (OSError, ValueError):  # another machine's, or another launcher's
        return
    if not same:
        raise InvalidInput(f"expected TorchServe's own model store, {own}, got {store}")


def _left_in_store(management: Management, archive: str, copy: Path | None, error: BaseException) -> str:
    """Removes a copy, or says what is left. An archive that serves, maybe as the new default, stays."""
    if copy is None and isinstance(error, NotFound) and archive in str(error):
        return ""  # the store has none of that name
    try:
        if any(model.archive == archive for model in management.list()):
            return ""
    except PersiaError:
        return f"whether {archive} serves is not known: look, with `manage list`, before you remove it from the model store"
    if copy is not None:
        copy.unlink(missing_ok=True)
        return ""
    return f"remove {archive} from the model store, or a new start with all models makes it the default if it is the newest"


def _print(models: Sequence[Model], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(models), indent=2).decode())
        return
    rows = [("MODEL", "VERSION", "", "READY", "WORKERS", "ARCHIVE")]
    for model in models:
        default = "default" if model.is_default else ""
        rows.append((model.name, model.version, default, str(model.ready), str(model.min_workers), model.archive))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
