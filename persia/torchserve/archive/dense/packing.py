"""A dense model is packed: its settings are checked, it is tried on a sample, and its signature is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from persia._core import decode_batch
from persia.config import load_embedding_config
from persia.errors import ConfigError, InvalidInput, NotFound
from persia.signature import Signature
from persia.signature_check import SignatureCheck
from persia.torchserve.archive.compare.agreement import Agreement
from persia.torchserve.archive.dense.signature_writing import check_features, signature_of
from persia.torchserve.archive.handler_files import PERSIA_HANDLER
from persia.torchserve.archive.model_config import DEFAULTS
from persia.torchserve.archive.options import PersiaOptions, Place, QuantizationOptions, Serving
from persia.torchserve.archive.weights import weights_to_pack
from persia.torchserve.archive.writing import write_archive
from persia.torchserve.settings import handler_settings

__all__ = ["pack_dense_model"]


def pack_dense_model(
    model: Path,
    sample: Path | None,
    options: PersiaOptions,
    quantization: QuantizationOptions,
    place: Place,
    serving: Serving,
) -> str:
    """Writes the archive, and gives what to say of the model. Raises PersiaError, OSError."""
    handler = serving.handler or PERSIA_HANDLER
    extra = serving.read_config()
    text = serving.model_config(extra)
    if handler.samefile(PERSIA_HANDLER):  # others may mean something else by `persia`
        _check_settings(extra, serving)
    place.check()
    tried, signature = _try(model, sample, options)
    if signature is None and (options.single or options.ids):
        raise InvalidInput("--single and --ids need a signature: give --embedding-config, and --features or a byte batch")
    if options.no_signature:
        signature = None
    packed = signature.to_bytes() if signature else None
    extra_files = (*serving.extra_files, *weights_to_pack(model, serving.extra_files))
    with tempfile.TemporaryDirectory(prefix="persia-archive-") as staging:
        if quantization.quantize:
            model, agrees = _quantized(model, sample, quantization, Path(staging))
            tried += f", and as int8 with {agrees}"
        place.out.mkdir(parents=True, exist_ok=True)
        write_archive(place.archive, place.name, place.version, model, handler, text, extra_files, packed)
    return f"{tried}; signature: {len(signature.features)} features" if signature else tried


def _quantized(model: Path, sample: Path | None, quantization: QuantizationOptions, staging: Path) -> tuple[Path, Agreement]:
    """The model's file with int8 layers. Raises InvalidInput if it does not agree enough with the original."""
    from persia.torchserve.archive.dense.quantization import write_quantized_dense  # torch, which was imported by now

    out = staging / model.name
    found = write_quantized_dense(model, sample, out)
    quantization.check(found, sample.name if sample is not None else "", given=True)
    changed = model.stat().st_mtime
    os.utime(out, (changed, changed))  # which the manifest has: the same model gives the same archive
    return out, found


def _check_settings(extra: Mapping[str, Any], serving: Serving) -> None:
    """Raises ConfigError for settings with which our handler would not load, or would be killed with a request."""
    config = serving.config
    settings = handler_settings(extra, str(config))
    if settings["variants_sticky_by"] is not None and not settings["variants"]:
        raise ConfigError(
            "expected `variants` beside it, got none: the key chooses between them, and means nothing alone",
            "$.persia.variants_sticky_by",
            str(config),
        )
    for key in ("kept_share", "kept_mib"):
        if key in (extra.get("persia") or {}) and settings["kept_answers"] is None:
            raise ConfigError(
                "expected kept_answers beside it, without which no answer is kept: name a directory, or leave both out",
                f"$.persia.{key}",
                str(config),
            )
    packed = {path.name for path in serving.extra_files}
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

    seconds = serving.response_timeout or extra.get("responseTimeout", DEFAULTS["responseTimeout"])
    if settings["timeout_ms"] >= seconds * 1000:
        from_file = str(config) if "responseTimeout" in extra else "the default"
        theirs = "--response-timeout" if serving.response_timeout else from_file
        ours = str(config) if "timeout_ms" in (extra.get("persia") or {}) else "the default"
        raise ConfigError(
            f"expected a timeout_ms of less than responseTimeout, {seconds} s ({theirs}), got {settings['timeout_ms']} ms "
            f"({ours}): TorchServe would kill a worker that still waits for embeddings",
            "$.persia.timeout_ms",
            str(config) if config else None,
        )


def _try(model: Path, sample: Path | None, options: PersiaOptions) -> tuple[str, Signature | None]:
    """What to say of the model, and its signature if the names of its features are known. Raises PersiaError, OSError."""
    try:
        from persia.dense.loading import load_dense  # torch: a second
        from persia.dense.model import DenseModel
        from persia.torchserve.archive.dense.batch_sizes import check_batch_sizes
        from persia.torchserve.archive.dense.trial import Sample, sample_from_batch, sample_from_npz, try_model
    except ModuleNotFoundError as error:
        raise NotFound(f"trying a model needs {error.name}: pip install 'persia-serve[torchserve]'") from error

    loaded = load_dense(model)
    features = options.features and options.features.split(",")
    config = load_embedding_config(options.embedding_config) if options.embedding_config is not None else None
    single, ids = options.single, dict(options.ids)
    if features is not None:
        if config is None:
            raise InvalidInput("--features needs --embedding-config: it has the dims of the features, and how ids become signs")
        check_features(features, config)
    if sample is None:
        check_batch_sizes(loaded, None, {})
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
    try:
        check_batch_sizes(loaded, tried, outputs)
    except InvalidInput as error:
        if isinstance(loaded, DenseModel):
            raise
        said += f" (careful: {error})"  # TorchScript was always packed as it is
    if config is None or tried.features is None:
        return said, None
    arrays = [(name, tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor) for name, tensor in outputs.items()]
    signature = signature_of(
        config,
        tried.features,
        embeddings=tried.embeddings,
        dense=list(zip(tried.dense_names, tried.dense, strict=True)),
        outputs=[(name, array.numpy()) for name, array in arrays],
        allow_nan=options.allow_nan,
        single=single,
        ids=ids,
    )
    if single and sample.suffix != ".npz":
        SignatureCheck(signature, drop_extra=True).place(decode_batch(sample.read_bytes()))
    return said, signature


def _shapes(outputs: Mapping[str | None, Any]) -> Sequence[tuple[str | None, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in outputs.items()]
