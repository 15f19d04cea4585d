"""`persia-launcher archive`: a model and its handler as a model archive, tried before it is written."""

from __future__ import annotations

from pathlib import Path

import click

from persia.cli.failures import one_line_failures
from persia.cli.local_paths import LocalPath
from persia.cli.option_groups import GroupedCommand, refuse_options
from persia.errors import NotFound
from persia.torchserve.archive.dense.packing import pack_dense_model
from persia.torchserve.archive.options import (
    FILE,
    PersiaOptions,
    Place,
    QuantizationOptions,
    Serving,
    TextOptions,
    persia_options,
    place_options,
    quantization_options,
    serving_options,
    text_options,
)
from persia.torchserve.archive.tensor_packing import pack_tensor_model

__all__ = ["archive"]


@click.command(cls=GroupedCommand, context_settings={"show_default": True})
@click.option("--model", type=FILE, help="A dense model: TorchScript, torch.export, AOTInductor or ONNX.")
@click.option(
    "--transformers",
    type=LocalPath(exists=True, file_okay=False, path_type=Path),
    help="The folder of a text model, as save_pretrained writes it. Nothing is loaded from the hub.",
)
@click.option(
    "--sample",
    type=FILE,
    help="Try the model: a dense one on a byte batch (with --embedding-config), or on dense0.., emb0.. of .npz; a text model "
    "on texts, one a line.  [default for texts: some made of its vocabulary]",
)
@click.option(
    "--no-handler",
    is_flag=True,
    help="Pack --model alone: the model server serves its tensors by name (Open Inference Protocol). TorchServe refuses it.",
)
@place_options
@serving_options
@persia_options
@text_options
@quantization_options
@click.pass_context
def archive(
    context: click.Context,
    model: Path | None,
    transformers: Path | None,
    sample: Path | None,
    no_handler: bool,
    place: Place,
    serving: Serving,
    persia: PersiaOptions,
    text: TextOptions,
    quantization: QuantizationOptions,
) -> None:
    """Write NAME-VERSION.mar, for TorchServe and the model server, of a dense model or of a text model.

    The model is loaded first, and tried if there is a sample. model-config.yaml in the archive names every timeout and number
    of workers. A dense model's archive has signature.json, with what the model takes, by which each request is checked and put
    into the model's order. A text model's has its tokenizer and labels.
    """
    with one_line_failures():
        if model is not None and transformers is None:
            refuse_options(context, TextOptions, "--model")
            if no_handler:
                _refuse_what_needs_a_handler(context, sample, serving)
                tried = pack_tensor_model(model, place, serving)
            else:
                tried = pack_dense_model(model, sample, persia, quantization, place, serving)
        elif no_handler:
            raise click.UsageError("expected --model FILE beside --no-handler: a text model is served by a handler")
        elif transformers is not None and model is None:
            refuse_options(context, PersiaOptions, "--transformers")
            tried = _pack_text_model(transformers, sample, text, quantization, place, serving)
        else:
            raise click.UsageError("expected --model FILE for a dense model, or --transformers DIRECTORY for a text model")
    click.echo(f"{place.archive}: {place.name} {place.version}, {place.archive.stat().st_size} bytes, {tried}")


def _refuse_what_needs_a_handler(context: click.Context, sample: Path | None, serving: Serving) -> None:
    """Raises click.UsageError."""
    for kind in (PersiaOptions, QuantizationOptions):
        refuse_options(context, kind, "--no-handler")
    if sample is not None:
        raise click.UsageError("expected no --sample beside --no-handler: a model without a handler is loaded, and not tried")
    if serving.handler is not None:
        raise click.UsageError("expected --handler FILE or --no-handler, got both")


def _pack_text_model(
    directory: Path,
    sample: Path | None,
    options: TextOptions,
    quantization: QuantizationOptions,
    place: Place,
    serving: Serving,
) -> str:
    """Raises PersiaError, OSError."""
    try:
        from persia.torchserve.archive.text.packing import pack_text_model  # torch: a second
    except ModuleNotFoundError as error:
        raise NotFound(f"packing a text model needs {error.name}: pip install 'persia-serve[transformers]'") from error
    return pack_text_model(directory, sample, options, quantization, place, serving)
