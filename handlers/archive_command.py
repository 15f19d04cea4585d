"""`persia-launcher archive`: a scripted dense model and its handler as a model archive, tried before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import click

from persia._core import decode_batch
from persia.config import load_embedding_config
from persia.errors import ConfigError, InvalidInput, NotFound, PersiaError
from persia.signature import IdKind, Signature
from persia.signature_check import SignatureCheck
from persia.torchserve.settings import handler_settings

from .archive import DEFAULT_HANDLER, write_archive
from .model_config import DEFAULTS, model_config, read_extra
from .signature_writing import check_features, signature_of

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
    help="For the shapes of the embeddings, and the signature.",
)
@click.option("--features", help="NAME,NAME,...: the order in which the model takes them.  [default: that of the byte batch]")
@click.option(
    "--single", multiple=True, metavar="NAME", help="A feature of which each sample has exactly one id; any number of times."
)
@click.option(
    "--ids",
    type=(str, click.Choice(["text", "integer"])),
    multiple=True,
    metavar="NAME text|integer",
    help="What callers send as ids of a feature; any number of times.",
)
@click.option("--allow-nan", is_flag=True, help="The model takes NaN and infinity among its dense inputs.")
@click.option("--no-signature", is_flag=True, help="Requests are not checked, and features keep the order that they come in.")
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
    features: str | None,
    single: tuple[str, ...],
    ids: tuple[tuple[str, IdKind], ...],
    allow_nan: bool,
    no_signature: bool,
    overwrite: bool,
) -> None:
    """Write NAME-VERSION.mar, for TorchServe.

    The model is loaded first, and tried if there is a sample. model-config.yaml in the archive names every timeout and number
    of workers; signature.json has what the model takes, by which each request is checked and put into the model's order.
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
        tried, signature = _try(model, sample, embedding_config, features and features.split(","), allow_nan, single, dict(ids))
        if signature is None and (single or ids):
            raise InvalidInput("--single and --ids need a signature: give --embedding-config, and --features or a byte batch")
        if no_signature:
            signature = None
        out.mkdir(parents=True, exist_ok=True)
        write_archive(target, name, version, model, handler, text, extra_files, signature.to_bytes() if signature else None)
    except (PersiaError, OSError) as error:
        raise click.ClickException(str(error)) from error
    checked = f"; signature: {len(signature.features)} features" if signature else ""
    click.echo(f"{target}: {name} {version}, {target.stat().st_size} bytes, {tried}{checked}")


def _check_settings(
    extra: Mapping[str, Any], config: Path | None, extra_files: Sequence[Path], response_timeout: int | None
) -> None:
    """Raises ConfigError for settings with which our handler would not load, or would be killed with a request."""
    settings = handler_settings(extra, str(config))
    packed = {path.name for path in extra_files}
    for key in ("warm_up", "global_config", "embedding_config", "drift_baseline"):
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


def _try(
    model: Path,
    sample: Path | None,
    embedding_config: Path | None,
    features: Sequence[str] | None,
    allow_nan: bool,
    single: Sequence[str],
    ids: Mapping[str, IdKind],
) -> tuple[str, Signature | None]:
    """What to say of the model, and its signature if the names of its features are known. Raises PersiaError, OSError."""
    try:
        from .trial import Sample, load_model, sample_from_batch, sample_from_npz, try_model  # torch: a second
    except ModuleNotFoundError as error:
        raise NotFound(f"trying a model needs {error.name}: pip install 'persia-serve[torchserve]'") from error

    loaded = load_model(model)
    config = load_embedding_config(embedding_config) if embedding_config is not None else None
    if features is not None:
        if config is None:
            raise InvalidInput("--features needs --embedding-config: it has the dims of the features, and how ids become signs")
        check_features(features, config)
    if sample is None:
        signature = (
            signature_of(config, features, single=single, ids=ids) if config is not None and features is not None else None
        )
        return "which loads (not tried: no --sample)", signature
    tried: Sample
    if sample.suffix == ".npz":
        tried = sample_from_npz(sample, features)
    elif config is None:
        raise InvalidInput("expected --embedding-config beside a byte batch: it has the shapes of the embeddings")
    else:
        tried = sample_from_batch(sample, config, features)
    outputs = try_model(loaded, tried)
    shapes = ", ".join(f"{name} {shape}" if name else str(shape) for name, shape in _shapes(outputs))
    said = f"which answers {sample.name} with scores {shapes}"
    if config is None or tried.features is None:
        return said, None
    arrays = [(name, tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor) for name, tensor in outputs.items()]
    signature = signature_of(
        config,
        tried.features,
        embeddings=tried.embeddings,
        dense=list(zip(tried.dense_names, tried.dense, strict=True)),
        outputs=[(name, array.numpy()) for name, array in arrays],
        allow_nan=allow_nan,
        single=single,
        ids=ids,
    )
    if single and sample.suffix != ".npz":
        SignatureCheck(signature, drop_extra=True).place(decode_batch(sample.read_bytes()))
    return said, signature


def _shapes(outputs: Mapping[str | None, Any]) -> list[tuple[str | None, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in outputs.items()]
