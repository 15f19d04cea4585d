"""`persia-launcher torchserve`: TorchServe from its start to its end, with what a user would otherwise have to know."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from queue import SimpleQueue

import click

from persia.errors import CorruptFile, InvalidInput, NotFound, PersiaError
from persia.seconds import Seconds
from persia.torchserve.settings import environment_threads

from .archive import Manifest, read_manifest
from .readiness import Readiness
from .torchserve_options import DEFAULT_MESSAGE_BYTES, Options
from .torchserve_process import TorchServe

__all__ = ["models_of", "ready_line", "torchserve"]

log = logging.getLogger("torchserve")

# What TorchServe takes to end when it has nothing to do: about 2.6, of which its network waits 2.
END_SECONDS = 5.0

_PORT = click.IntRange(0, 65_535)
MIB = 1 << 20


@click.command(context_settings={"show_default": True})
@click.option("--model-store", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option(
    "--models",
    multiple=True,
    help="FILE.mar or NAME=FILE.mar in the model store, with commas or again; or `all`, whose newest version is the default.",
)
@click.option("--host", default="127.0.0.1", help="Where inference is served; management is on 127.0.0.1 in any case.")
@click.option("--port", type=_PORT, default=7070, help="Of inference over gRPC; 0: any free one.")
@click.option("--management-port", type=_PORT, default=7071, help="Of management over gRPC; 0: any free one.")
@click.option("--http-port", type=_PORT, help="Serve inference over HTTP as well.")
@click.option("--http-management-port", type=_PORT, help="Serve management over HTTP as well.")
@click.option("--tokens/--no-tokens", default=True, help="Without, anyone may call: for clients that send none.")
@click.option("--model-api/--no-model-api", default=None, help="Registering models.  [default: with tokens]")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), help="Keys, logs, temporary files.  [default: a new one]"
)
@click.option("--workers", type=click.IntRange(1), default=1, help="For archives that do not say.")
@click.option("--threads", type=click.IntRange(1), help="Of torch, in each worker.  [default: $OMP_NUM_THREADS, else 1]")
@click.option(
    "--queue", type=click.IntRange(1), default=100, help="Requests that wait per model, for archives that do not say."
)
@click.option(
    "--max-message-mib", type=click.IntRange(1), default=DEFAULT_MESSAGE_BYTES // MIB, help="Of requests and answers."
)
@click.option("--heap", help="The JVM's -Xmx.  [default: 16 messages, at least 1g]")
@click.option(
    "--smoke",
    multiple=True,
    metavar="[NAME=]FILE",
    help="A byte batch that each model must answer before it is called ready, or this one; again for others.",
)
@click.option("--ready-timeout", type=Seconds(), default=180.0, help="Seconds until all models are ready.")
@click.option("--drain", type=Seconds(), default=30.0, help="Seconds for requests that run, when it is stopped.")
def torchserve(
    model_store: Path,
    models: tuple[str, ...],
    host: str,
    port: int,
    management_port: int,
    http_port: int | None,
    http_management_port: int | None,
    tokens: bool,
    model_api: bool | None,
    state: Path | None,
    workers: int,
    threads: int | None,
    queue: int,
    max_message_mib: int,
    heap: str | None,
    smoke: tuple[str, ...],
    ready_timeout: float,
    drain: float,
) -> None:
    """Run TorchServe until a signal comes.

    It is ready when all workers of all models are, and says so on stderr with addresses and the file of tokens. The first
    SIGTERM or SIGINT drains and ends it, a second one kills it.
    """
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    events = _events_of_signals()
    kept = state or Path(tempfile.mkdtemp(prefix="persia-ts-"))
    code = 2
    try:
        found = models_of(model_store, models)
        batches = _batches(smoke, {name for name, _ in found.values()})
        options = Options(
            model_store=model_store.absolute(),
            models={file: name for file, (name, _) in found.items()},
            host=host,
            port=port,
            management_port=management_port,
            http_port=http_port,
            http_management_port=http_management_port,
            workers=workers,
            threads=threads or environment_threads() or 1,
            queue=queue,
            max_message_bytes=max_message_mib * MIB,
            heap=heap,
            tokens=tokens,
            model_api=tokens if model_api is None else model_api,
        )
        code = _run(TorchServe(options, kept), list(found.values()), events, batches, ready_timeout, drain)
    except (PersiaError, OSError) as error:
        log.error("%s", error)
    finally:
        if state is None and code != 1:
            shutil.rmtree(kept, ignore_errors=True)
    sys.exit(code)


def _run(
    server: TorchServe,
    models: Sequence[tuple[str, str]],
    events: SimpleQueue[str],
    batches: Mapping[str, bytes],
    seconds: float,
    drain: float,
) -> int:
    """The exit code: 0 after a stop that was asked for, 1 after a failure, whose logs stay. Raises PersiaError, OSError."""
    server.start()
    try:
        _in_background(lambda: events.put(f"ended with {server.wait()}"))
        with Readiness(server, models, batches) as readiness:
            ready = readiness.wait(seconds, stop=lambda: not events.empty())
        if ready:
            log.info("%s", ready_line(server, models))
        event = events.get()
        server.check()  # raises if the event was its end
    except PersiaError as error:
        log.error("%s", error)
        server.stop(0)
        return 1
    if not ready:
        server.stop(0)
        return 0
    log.info("%s: up to %.0f s for requests that run", event, drain)
    # A second signal kills, while stop() waits for the end.
    _in_background(lambda: _abort_at_second_signal(server, events))
    if not server.stop(drain + END_SECONDS):
        log.error("killed, before it had answered all requests")
        return 1
    return 0


def ready_line(server: TorchServe, models: Sequence[tuple[str, str]]) -> str:
    """What is said of a TorchServe that can answer. `persia-launcher up` waits for it, and reads it (persia.stack)."""
    tokens = f"tokens in {server.directories.key_file}" if server.options.tokens else "no tokens"
    names = ", ".join(f"{name} {version}" for name, version in models) or "no models yet"
    addresses = f"inference on {server.address}, management on {server.management_address}"
    if server.options.http_port is not None:
        addresses += f", inference over HTTP on port {server.options.http_port}"
    if server.options.http_management_port is not None:
        addresses += f", management over HTTP on port {server.options.http_management_port}"
    return f"ready: {addresses}, {tokens}, logs in {server.directories.logs}, models: {names}"


def models_of(store: Path, wanted: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """File of the store: name and version. Read here, because TorchServe starts without a word if one is missing."""
    files: dict[str, str] = {}  # each with the name that is given, if one is
    for item in [part.strip() for text in wanted for part in text.split(",") if part.strip()]:
        if item == "all":
            files |= dict.fromkeys((file for file in _newest_first(store) if file not in files), "")
        else:
            name, _, file = item.rpartition("=")
            before = files.get(file)
            if before and name and before != name:
                raise InvalidInput(f"expected one name for {file}, got {before} and {name}")
            files[file] = before or name
    found = {}
    for file, given in files.items():
        if not (store / file).is_file() or "/" in file:
            there = ", ".join(sorted(path.name for path in store.glob("[!.]*.mar"))) or "no .mar files"
            raise NotFound(f"expected {file} in {store}, got {there}")
        manifest: Manifest = read_manifest(store / file)
        found[file] = given or manifest.name, manifest.version
    twice = {pair for pair in found.values() if list(found.values()).count(pair) > 1}
    if twice:
        raise InvalidInput(f"expected each version of a model once, got several archives of {sorted(twice)}")
    return found


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


def _newest_first(store: Path) -> Iterator[str]:
    """All archives. TorchServe's default version is the one that comes first: so a swap outlives a restart.

    One that is broken is left out, where there are others: they shall come back after a restart.
    """
    manifests, broken = {}, []
    for path in store.glob("[!.]*.mar"):
        try:
            manifests[path.name] = read_manifest(path)
        except CorruptFile as error:
            broken.append(error)
    if broken and not manifests:
        raise broken[0]
    for reason in broken:
        log.error("left out: %s", reason)
    newest = sorted(manifests, key=lambda file: _parts(manifests[file].version), reverse=True)
    yield from sorted(newest, key=lambda file: manifests[file].name)


# In the order in which they make a version newer.
_WORD, _END, _NUMBER = range(3)


def _parts(version: str) -> list[tuple[int, int, str]]:
    """10.0 comes after 9.0, 2.0.1 after 2.0, and that after 2.0-rc1."""
    parts = re.findall(r"\d+|[^\W\d]+", version, re.ASCII)
    return [*((_NUMBER, int(part), "") if part.isdigit() else (_WORD, 0, part) for part in parts), (_END, 0, "")]


def _events_of_signals() -> SimpleQueue[str]:
    events: SimpleQueue[str] = SimpleQueue()
    # Each signal leaves a byte here as it comes. A handler would not do: Python runs it in the main thread only, and does not
    # wake that from events.get() if the signal came a moment before it began to wait.
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    # What is ignored, as under nohup, stays so.
    hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    numbers = (signal.SIGTERM, signal.SIGINT, *hangup)
    for number in numbers:
        signal.signal(number, lambda number, _: None)

    def pass_on() -> None:
        while True:
            (number,) = os.read(read, 1)
            if number in numbers:
                events.put(signal.Signals(number).name)

    _in_background(pass_on)
    return events


def _abort_at_second_signal(server: TorchServe, events: SimpleQueue[str]) -> None:
    if not events.get().startswith("ended"):
        server.abort()


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()
