"""The settings of our handler: what stands under `persia` in an archive's model-config.yaml, and what the environment says."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from persia.config.servers import address_problem
from persia.errors import ConfigError
from persia.variant import NO_VARIANT, VARIANT_NAME

__all__ = [
    "DEFAULTS",
    "MAX_ANSWER_VARIABLE",
    "SETTINGS",
    "THREADS_VARIABLE",
    "Setting",
    "environment_threads",
    "handler_settings",
]

THREADS_VARIABLE = "OMP_NUM_THREADS"
MAX_ANSWER_VARIABLE = "PERSIA_MAX_ANSWER_MIB"


def environment_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """OMP_NUM_THREADS; None where it is no positive number, such as the list of numbers that it may be."""
    return _positive(environment, THREADS_VARIABLE)


def handler_settings(
    config: Mapping[str, Any] | None, file: str = "model-config.yaml", environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The settings of a whole model-config.yaml, over those of the environment, over the defaults. Raises ConfigError."""
    given = (config or {}).get("persia") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"expected a mapping of settings, got {given!r}", "$.persia", file)
    for key, value in given.items():
        if key not in DEFAULTS:
            raise ConfigError(f"unknown key, known are {', '.join(DEFAULTS)}", f"$.persia.{key}", file)
        # A key with nothing behind it is one that was left out, if leaving it out has a meaning.
        optional = value is None and DEFAULTS[key] is None
        if not optional and (problem := SETTINGS[key].problem(value)):
            raise ConfigError(problem, f"$.persia.{key}", file)
    said = {"threads": environment_threads(environment), "max_answer_mib": _positive(environment, MAX_ANSWER_VARIABLE)}
    settings = {**DEFAULTS, **{key: value for key, value in said.items() if value is not None}, **given}
    if said["max_answer_mib"] is not None:
        # What TorchServe takes. An archive that allows itself more would lose its worker with the answer.
        settings["max_answer_mib"] = min(settings["max_answer_mib"], said["max_answer_mib"])
    return settings


def _positive(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    return int(text) or None if text.isascii() and text.isdigit() else None


def _number_problem(value: Any) -> str | None:
    return None if type(value) is int and value > 0 else f"expected a positive number, got {value!r}"


def _size_problem(value: Any) -> str | None:
    return None if type(value) is int and value >= 0 else f"expected a whole number, 0 or more, got {value!r}"


def _merge_problem(value: Any) -> str | None:
    return None if value is False or value in ("lookup", "model") else f"expected lookup, model or false, got {value!r}"


def _path_problem(value: Any) -> str | None:
    return None if isinstance(value, str) and value else f"expected a path, got {value!r}"


def _absolute_path_problem(value: Any) -> str | None:
    return None if isinstance(value, str) and value.startswith("/") else f"expected an absolute path, got {value!r}"


def _share_problem(value: Any) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number and 0 < value <= 1 else f"expected a number over 0, and up to 1, got {value!r}"


def _variants_problem(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"expected weights of variants, such as {{{NO_VARIANT}: 90, b: 10}}, got {value!r}"
    for name, weight in value.items():
        if not isinstance(name, str) or not (name == NO_VARIANT or re.match(VARIANT_NAME, name)):
            return f"expected names of variants, or `{NO_VARIANT}`, got {name!r}"
        if type(weight) not in (int, float) or not 0 <= weight < math.inf:
            return f"expected a weight of 0 or more for {name}, got {weight!r}"
    return f"expected a weight over 0, got {value!r}" if value and not any(value.values()) else None


def _key_problem(value: Any) -> str | None:
    return (
        None if isinstance(value, str) and value else f"expected the name of a header or of a key of the input, got {value!r}"
    )


def _level_problem(value: Any) -> str | None:
    """Python's own check, which else ends a worker, and again each time that it is started."""
    try:
        logging.Handler().setLevel(value)
    except (TypeError, ValueError):
        return f"expected a level such as DEBUG, INFO, WARNING or ERROR, got {value!r}"
    return None


def _one_of(*words: str) -> Callable[[Any], str | None]:
    def problem(value: Any) -> str | None:
        return None if value in words else f"expected {' or '.join(words)}, got {value!r}"

    return problem


def _addresses_problem(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return f"expected a list of `host:port`, got {value!r}"
    for entry in value:
        replicas = entry if isinstance(entry, list) else [entry]
        if not replicas:
            return "expected at least one replica, got an empty list"
        for address in replicas:
            if not isinstance(address, str):
                return f"expected `host:port`, got {address!r}"
            if problem := address_problem(address):
                return problem
    return None


@dataclass(frozen=True)
class Setting:
    """`problem` says what is wrong with a value, if something is. `meaning` is for the documents."""

    default: Any
    problem: Callable[[Any], str | None]
    meaning: str


SETTINGS: Mapping[str, Setting] = {
    "addresses": Setting(
        None,
        _addresses_problem,
        "`[host:port]`: middlewares, or the embedding servers in shard order. Else `$EMBEDDING_WORKER_SERVICE`, else the "
        "`servers` of the global config, else `embedding_worker:8887`",
    ),
    "global_config": Setting(
        None, _path_problem, "Else `$PERSIA_GLOBAL_CONFIG`. A relative path is one in the archive (`--extra-file`)"
    ),
    "embedding_config": Setting(
        None, _path_problem, "Where the handler routes by itself; else `$PERSIA_EMBEDDING_CONFIG`. As `global_config`"
    ),
    "timeout_ms": Setting(10_000, _number_problem, "For the embeddings of a request; less if its caller waits no longer"),
    "threads": Setting(
        1, _number_problem, "Of torch, in each worker; else `$OMP_NUM_THREADS`, which the launcher's `--threads` sets"
    ),
    "max_answer_mib": Setting(
        64,
        _number_problem,
        "The launcher's `--max-message-mib` if that is less: TorchServe kills a worker whose answer is larger",
    ),
    "warm_up": Setting(None, _path_problem, "A byte batch in the archive (`--extra-file`), scored before the first request"),
    "extra_features": Setting(
        "error",
        _one_of("error", "drop"),
        "Features of a request that the model's signature does not have: `error`, or `drop` to leave them out",
    ),
    "merge": Setting(
        "lookup",
        _merge_problem,
        "What small requests that come together [share](model-server-tuning.md#merging): a `lookup`; with `model` also a run "
        "of the model, which changes the last bits of scores; with `false` nothing",
    ),
    "non_finite_scores": Setting(
        "error",
        _one_of("error", "null"),
        "NaN and infinity among the scores: `error` in every format; or `null`, as which JSON has them, and `npy`, `npz` and "
        "`raw` have them as they are",
    ),
    "answer_cache_mib": Setting(
        0,
        _size_problem,
        "Room in each worker for answers that were given before: [a cache](handler.md#answers-that-were-given-before). 0: none",
    ),
    "variants": Setting(
        {},
        _variants_problem,
        "Shares of the requests that name [no variant](variants.md), in any unit: `{none: 90, b: 10}`; `none`: the shared rows",
    ),
    "variants_sticky_by": Setting(
        None,
        _key_problem,
        "A header, or a key of the request's input: requests with the same value of it get the same variant. Else each draws "
        "anew",
    ),
    "drift_state": Setting(
        None,
        _absolute_path_problem,
        "A directory, outside of the archive, in which all workers leave sketches of what they are asked and answer: with it, "
        "the model is [watched for drift](drift.md). Needs the extra `drift`",
    ),
    "drift_baseline": Setting(
        None,
        _path_problem,
        "What is usual: a file of `persia-launcher drift baseline` in the archive (`--extra-file`). Else one in `drift_state`",
    ),
    "drift_window_seconds": Setting(600, _number_problem, "How long a window of the watch is, by the clock"),
    "drift_window_samples": Setting(
        None, _number_problem, "Windows end by this count of sketched samples, instead of by the clock"
    ),
    "drift_share": Setting(
        0.01, _share_problem, "Of a core, at most, for a worker's sketches; of batches beyond that only the number is noted"
    ),
    "drift_samples": Setting(
        "none",
        _one_of("none", "scores", "inputs"),
        "Answers of each window that are put aside in `drift_state`, for people to label: `none`; `scores`, with "
        "the ids of their requests; or `inputs`, with what was asked too",
    ),
    "drift_samples_per_window": Setting(20, _number_problem, "Of a worker; and as many more of which the model was least sure"),
    "drift_samples_days": Setting(30, _number_problem, "After which they are removed; also earlier, to keep to 16 MiB"),
    "drift_history_mib": Setting(64, _number_problem, "For the windows of one version in `drift_state`; then the oldest go"),
    "kept_answers": Setting(
        None,
        _absolute_path_problem,
        "A directory in which all workers keep a share of their answers, with receipts, to be [replayed](replay.md)",
    ),
    "kept_share": Setting(0.01, _share_problem, "Of all answers, by chance, that are kept in `kept_answers`"),
    "kept_mib": Setting(64, _number_problem, "For the files in `kept_answers`; then the oldest go"),
    "log_level": Setting(
        "WARNING", _level_problem, "Of Python's root logger; TorchServe's own lines for each request cost a fifth of its time"
    ),
}
# Of `threads` and `max_answer_mib`: what holds where the environment does not say either.
DEFAULTS: Mapping[str, Any] = {key: setting.default for key, setting in SETTINGS.items()}
