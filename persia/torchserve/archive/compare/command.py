"""`persia-launcher compare`: a smaller, newer or quantized model beside the one that it is to replace."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from persia.cli.failures import one_line_failures
from persia.seconds import Seconds
from persia.torchserve.archive.options import FILE

__all__ = ["compare"]


@click.command(context_settings={"show_default": True})
@click.argument("one", type=FILE)
@click.argument("other", type=FILE)
@click.option(
    "--samples",
    type=FILE,
    required=True,
    help="What both are asked: texts, one a line; or dense0.., emb0.. of .npz for dense models.",
)
@click.option("--min-agreement", type=click.FloatRange(0, 1), default=0.0, help="Exit with 1 if they agree on fewer answers.")
@click.option("--seconds", type=Seconds(), default=5.0, help="For which calls are timed, in turns.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(one: Path, other: Path, samples: Path, min_agreement: float, seconds: float, as_json: bool) -> None:
    """Ask the models of two archives the same, and print how far they agree, how long they take, and how large they are.

    Models for text agree on a label, on the label of a word, on an answer, or on which other sample is nearest to a text. Dense
    models with one score agree on which of two samples has the higher one.
    """
    try:
        from persia.torchserve.archive.compare.comparison import compare_archives  # torch: a second
    except ModuleNotFoundError as error:
        raise click.ClickException(f"comparing models needs {error.name}: pip install 'persia-serve[transformers]'") from error
    with one_line_failures():
        found = compare_archives(one, other, samples, seconds)
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(found.lines()))
    if found.agreement.agreement < min_agreement:
        click.echo(f"they agree on {found.agreement.agreement:.3f} of the answers, less than {min_agreement:g}", err=True)
        sys.exit(1)
