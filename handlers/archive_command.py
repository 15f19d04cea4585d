"""`persia-launcher archive`: a model and its handler as a model archive, tried before it is written."""

from __future__ import annotations

from pathlib import Path

import click

from persia.errors import PersiaError

from .archive_options import FILE, PersiaOptions, Place, Serving, persia_options, place_options, serving_options
from .option_groups import GroupedCommand
from .persia_packing import pack_dense_model

__all__ = ["archive"]


@click.command(cls=GroupedCommand, context_settings={"show_default": True})
@click.option("--model", type=FILE, required=True, help="The dense half: TorchScript, torch.export, AOTInductor or ONNX.")
@click.option(
    "--sample", type=FILE, help="Try the model on a byte batch (with --embedding-config), or on dense0.., emb0.. of .npz."
)
@place_options
@serving_options
@persia_options
def archive(model: Path, sample: Path | None, place: Place, serving: Serving, persia: PersiaOptions) -> None:
    """Write NAME-VERSION.mar, for TorchServe.

    The model is loaded first, and tried if there is a sample. model-config.yaml in the archive names every timeout and number
    of workers; signature.json has what the model takes, by which each request is checked and put into the model's order.
    """
    try:
        tried = pack_dense_model(model, sample, persia, place, serving)
    except (PersiaError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{place.archive}: {place.name} {place.version}, {place.archive.stat().st_size} bytes, {tried}")
