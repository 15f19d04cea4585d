"""`persia-launcher archive`: a scripted dense model and its handler as a model archive, tried before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import click

from persia.errors import ConfigError, InvalidInput, NotFound, PersiaError
from persia.torchserve.settings import handler_settings

from .archive import DEFAULT_HANDLER, write_archive
from .model_config import DEFAULTS, model_config, read_extra

__all__ = ["archive"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_POSITIVE = click.IntRange(1)


@click.command(context_settings={"show_default": True})
@click.option("--model", type=_FILE, required=True, help="The TorchScript file.")
@click.option("--name", required=True, help="Under which requests ask for it.")
@click.option("--version", default="1.0", help="A version cannot be replaced while it is registered: give a new one.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=".", help="A directory, such as the model store."
)
@click.option("--handler", type=_FILE, default=DEFAULT_HANDLER, show_default="PersiaHandler", help="Python, with one class.")
@click.option(
    "--extra-file", "extra_files", type=_FILE, multiple=True, help="To stand beside the handler; any number of times."
)
@click.option("--config", type=_FILE, help="More settings for model-config.yaml: TorchServe's own, and the handler's.")
@click.option("--workers", type=_POSITIVE, help=f"Processes.  [default: {DEFAULTS['minWorkers']}]")
@click.option(
    "--batch-size", type=_POSITIVE, help=f"Requests that a worker gets at a time.  [default: {DEFAULTS['batchSize']}]"
)
@click.option("--max-batch-delay", type=_POSITIVE, help="Milliseconds that a request waits for such company.")
@click.option("--response-timeout", type=_POSITIVE, help="Seconds after which a worker is killed.")
@click.option("--startup-timeout", type=_POSITIVE, help="Seconds that a worker may take to load the model.")
@click.option("--queue", type=_POSITIVE, help="Requests that may wait.")
@click.option(
    "--sample", type=_FILE, help="Try the model on a byte batch (with --embedding-config), or on dense0.., emb0.. of .npz."
)
@click.option(
    "--embedding-config",
    type=_FILE,
    envvar="PERSIA_EMBEDDING_CONFIG",
    show_envvar=True,
    help="For the shapes of the embeddings.",
)
@click.option("--overwrite", is_flag=True, help="Replace an archive of this name and version.")
def archive(
    model: Path,
    name: str,
    version: str,
    out: Path,
    handler: Path,
    extra_files: tuple[Path, ...],
    config: Path | None,
    workers: int | None,
    batch_size: int | None,
    max_batch_delay: int | None,
    response_timeout: int | None,
    startup_timeout: int | None,
    queue: int | None,
    sample: Path | None,
    embedding_config: Path | None,
    overwrite: bool,
) -> None:
    """Write NAME-VERSION.mar, for TorchServe.

    The model is loaded first, and tried if there is a sample. model-config.yaml in the archive names every timeout and number
    of workers.
    """
    target = out / f"{name}-{version}.mar"
    try:
        extra = read_extra(config) if config else {}
        text = model_config(
            extra,
            minWorkers=workers,
            maxWorkers=workers,
            batchSize=batch_size,
            maxBatchDelay=max_batch_delay,
            responseTimeout=response_timeout,
            startupTimeout=startup_timeout,
            jobQueueSize=queue,
        )
        if handler.samefile(DEFAULT_HANDLER):  # others may mean something else by `persia`
            _check_settings(extra, config, extra_files, response_timeout)
        if target.exists() and not overwrite:
            raise InvalidInput(f"{target} is there already: give another --version, or --overwrite")
        tried = _try(model, sample, embedding_config)
        out.mkdir(parents=True, exist_ok=True)
        write_archive(target, name, version, model, handler, text, extra_files)
    except (PersiaError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{target}: {name} {version}, {target.stat().st_size} bytes, {tried}")


def _check_settings(
    extra: Mapping[str, Any], config: Path | None, extra_files: Sequence[Path], response_timeout: int | None
) -> None:
    """Raises ConfigError for settings with which our handler would not load, or would be killed with a request."""
    settings = handler_settings(extra, str(config))
    packed = {path.name for path in extra_files}
    for key in ("warm_up", "global_config", "embedding_config"):
        # A worker runs in the directory of its unpacked archive; an absolute path is one on its machine, maybe not this one.
        path = PurePath(settings[key] or "/")
        if not path.is_absolute() and str(path) not in packed:
            inside = path.parent == PurePath()  # an archive has no directories
            mend = f"add --extra-file .../{path}" if inside else f"write {path.name}, and add --extra-file {path}"
            raise ConfigError(
                f"expected an absolute path, or one of the archive's extra files ({', '.join(sorted(packed)) or 'none'}), "
                f"got {settings[key]}: {mend}",
                f"$.persia.{key}",
                str(config),
            )

    seconds = response_timeout or extra.get("responseTimeout", DEFAULTS["responseTimeout"])
    if settings["timeout_ms"] >= seconds * 1000:
        theirs = "--response-timeout" if response_timeout else str(config) if "responseTimeout" in extra else "the default"
        ours = str(config) if "timeout_ms" in (extra.get("persia") or {}) else "the default"
        raise ConfigError(
            f"expected a timeout_ms of less than responseTimeout, {seconds} s ({theirs}), got {settings['timeout_ms']} ms "
            f"({ours}): TorchServe would kill a worker that still waits for embeddings",
            "$.persia.timeout_ms",
            str(config) if config else None,
        )


def _try(model: Path, sample: Path | None, embedding_config: Path | None) -> str:
    try:
        from .trial import load_model, sample_from_batch, sample_from_npz, try_model  # torch: a second, and not for --help
    except ModuleNotFoundError as error:
        raise NotFound(f"trying a model needs {error.name}: pip install 'persia-serve[torchserve]'") from error

    loaded = load_model(model)
    if sample is None:
        return "which loads (not tried: no --sample)"
    if sample.suffix == ".npz":
        dense, embeddings = sample_from_npz(sample)
    elif embedding_config is None:
        raise InvalidInput("expected --embedding-config beside a byte batch: it has the shapes of the embeddings")
    else:
        dense, embeddings = sample_from_batch(sample, embedding_config)
    return f"which answers {sample.name} with scores {try_model(loaded, dense, embeddings)}"
