"""The options of `persia-launcher archive`, in groups: where the archive goes, how it is served, and what is packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from persia.cli.local_paths import LocalPath
from persia.cli.option_groups import option_group
from persia.errors import InvalidInput
from persia.signature import IdKind
from persia.text.settings import DEFAULT_MAX_LENGTH, MODES
from persia.torchserve.archive.compare.agreement import Agreement
from persia.torchserve.archive.model_config import DEFAULTS, model_config, read_extra

__all__ = [
    "PersiaOptions",
    "Place",
    "QuantizationOptions",
    "Serving",
    "TextOptions",
    "persia_options",
    "place_options",
    "quantization_options",
    "serving_options",
    "text_options",
]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
POSITIVE = click.IntRange(1)
_MIN_AGREEMENT = 0.95


@dataclass(frozen=True)
class Place:
    """Which archive is written, and where."""

    name: str
    version: str
    out: Path
    overwrite: bool

    @property
    def archive(self) -> Path:
        return self.out / f"{self.name}-{self.version}.mar"

    def check(self) -> None:
        """Raises InvalidInput if the archive is there and is to stay."""
        if self.archive.exists() and not self.overwrite:
            raise InvalidInput(f"{self.archive} is there already: give another --version, or --overwrite")


@dataclass(frozen=True)
class Serving:
    """What TorchServe does with the archive."""

    handler: Path | None
    extra_files: tuple[Path, ...]
    config: Path | None
    workers: int | None
    batch_size: int | None
    max_batch_delay: int | None
    response_timeout: int | None
    startup_timeout: int | None
    queue: int | None

    def read_config(self) -> dict[str, Any]:
        """The settings of --config. Raises ConfigError, OSError."""
        return read_extra(self.config) if self.config else {}

    def model_config(self, settings: Mapping[str, Any]) -> str:
        """The text of model-config.yaml with these settings, over which those of the command line go. Raises ConfigError."""
        return model_config(
            settings,
            minWorkers=self.workers,
            maxWorkers=self.workers,
            batchSize=self.batch_size,
            maxBatchDelay=self.max_batch_delay,
            responseTimeout=self.response_timeout,
            startupTimeout=self.startup_timeout,
            jobQueueSize=self.queue,
        )


@dataclass(frozen=True)
class PersiaOptions:
    """What a dense half takes. `ids`: pairs of a feature and what callers send as its ids."""

    embedding_config: Path | None
    features: str | None
    single: tuple[str, ...]
    ids: tuple[tuple[str, IdKind], ...]
    allow_nan: bool
    no_signature: bool


@dataclass(frozen=True)
class TextOptions:
    """What a text model is for, and how it answers. None leaves a setting to the folder, or to the handler."""

    mode: str | None
    save_mode: str | None
    max_length: int | None
    labels: Path | None
    top_k: int | None
    pooling: str | None
    normalize: bool | None
    allow_random_head: bool


@dataclass(frozen=True)
class QuantizationOptions:
    """Whether a model becomes int8, and how much its answers may change by that.

    min_agreement: None where only samples that were given are judged by it. Labels of made-up texts are ties.
    """

    quantize: str | None
    min_agreement: float | None
    min_cosine: float

    def check(self, found: Agreement, samples: str, given: bool) -> None:
        """Raises InvalidInput if an int8 model agrees too little with the model that it was made of.

        samples: what both were asked, for the message. given: by the user, and not made up here.
        """
        least = self.min_agreement if self.min_agreement is not None else _MIN_AGREEMENT if given else 0.0
        cosine = 1.0 if found.mean_cosine is None else found.mean_cosine
        if found.agreement < least or cosine < self.min_cosine:
            raise InvalidInput(
                f"expected an agreement of at least {least:g} and a mean cosine of at least {self.min_cosine:g} "
                f"between the int8 model and the original, got {found} for {samples}: try more and typical --sample, serve the "
                "model without --quantize, or lower --min-agreement and --min-cosine"
            )


place_options = option_group(
    "place",
    Place,
    "The archive",
    name={"required": True, "help": "Under which requests ask for it."},
    version={"default": "1.0", "help": "A version cannot be replaced while it is registered: give a new one."},
    out={
        "type": LocalPath(file_okay=False, path_type=Path),
        "default": ".",
        "help": "A directory, such as the model store.",
    },
    overwrite={"is_flag": True, "help": "Replace an archive of this name and version."},
)

serving_options = option_group(
    "serving",
    Serving,
    "How TorchServe serves it",
    handler={"type": FILE, "help": "Python, with one class.  [default: the handler of this kind of model]"},
    extra_files={
        "flag": "--extra-file",
        "type": FILE,
        "multiple": True,
        "help": "To stand beside the handler; any number of times.",
    },
    config={"type": FILE, "help": "More settings for model-config.yaml: TorchServe's own, and the handler's."},
    workers={"type": POSITIVE, "help": f"Processes.  [default: {DEFAULTS['minWorkers']}]"},
    batch_size={
        "type": POSITIVE,
        "help": f"Requests that a worker gets at a time.  [default: {DEFAULTS['batchSize']}]",
    },
    max_batch_delay={"type": POSITIVE, "help": "Milliseconds that a request waits for such company."},
    response_timeout={"type": POSITIVE, "help": "Seconds after which a worker is killed."},
    startup_timeout={"type": POSITIVE, "help": "Seconds that a worker may take to load the model."},
    queue={"type": POSITIVE, "help": "Requests that may wait."},
)

text_options = option_group(
    "text",
    TextOptions,
    "A text model (--transformers)",
    mode={"type": click.Choice(MODES), "help": "What the model is for.  [default: as config.json or modules.json says]"},
    save_mode={
        "type": click.Choice(["pretrained", "torchscript", "onnx"]),
        "help": "pretrained can be explained; the others start sooner, without transformers.  "
        "[default: pretrained; torchscript with --quantize]",
    },
    max_length={
        "type": POSITIVE,
        "help": f"Tokens, of which a longer text is cut.  [default: {DEFAULT_MAX_LENGTH}, or what the model takes]",
    },
    labels={"type": FILE, "help": "JSON, in a form of index_to_name.json.  [default: that of the folder, or config.json]"},
    top_k={"type": POSITIVE, "help": "Answers are this many labels, the best first, with their probabilities."},
    pooling={
        "type": click.Choice(["mean", "cls"]),
        "help": "How an embedding is made of those of its tokens.  [default: as sentence-transformers' files say, or mean]",
    },
    normalize={
        "flag": "--normalize/--no-normalize",
        "default": None,
        "help": "Embeddings have the length 1.  [default: as sentence-transformers' files say, or not]",
    },
    allow_random_head={"is_flag": True, "help": "Pack a model whose file lacks weights, which are then random."},
)

quantization_options = option_group(
    "quantization",
    QuantizationOptions,
    "Quantization",
    quantize={
        "type": click.Choice(["dynamic"]),
        "help": "Pack the model with int8 linear layers, if it still answers alike.",
    },
    min_agreement={
        "type": click.FloatRange(0, 1),
        "help": f"Share of answers to the samples that are to be the same.  [default: {_MIN_AGREEMENT} with --sample]",
    },
    min_cosine={
        "type": click.FloatRange(-1, 1),
        "default": 0.95,
        "help": "Between the outputs for a sample, as a mean over them.",
    },
)

persia_options = option_group(
    "persia",
    PersiaOptions,
    "A dense model (--model)",
    embedding_config={
        "type": FILE,
        "envvar": "PERSIA_EMBEDDING_CONFIG",
        "show_envvar": True,
        "help": "For the shapes of the embeddings, and the signature.",
    },
    features={"help": "NAME,NAME,...: the order in which the model takes them.  [default: that of the byte batch]"},
    single={
        "multiple": True,
        "metavar": "NAME",
        "help": "A feature of which each sample has exactly one id; any number of times.",
    },
    ids={
        "type": (str, click.Choice(["text", "integer"])),
        "multiple": True,
        "metavar": "NAME text|integer",
        "help": "What callers send as ids of a feature; any number of times.",
    },
    allow_nan={"is_flag": True, "help": "The model takes NaN and infinity among its dense inputs."},
    no_signature={"is_flag": True, "help": "Requests are not checked, and features keep the order that they come in."},
)
