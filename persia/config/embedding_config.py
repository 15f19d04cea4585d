"""The schema of embedding_config.yml, and what follows from it: the group and the sign prefix of every slot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from persia.config.nodes import child_path
from persia.config.slots_match import facts_of, hashed_facts
from persia.errors import ConfigError

Pooling = Literal["sum", "mean", "sqrtn", "raw"]
Keep = Literal["first", "last", "all"]
Output = Literal["f16", "f32"]


class HashStackConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many ids in few rows: an id becomes `hash_stack_rounds` ids below `hash_stack_rounds * embedding_size`."""

    hash_stack_rounds: Annotated[
        int, Meta(ge=0, le=65_535, description="By how many hashes an id is replaced. 0 leaves ids as they are.")
    ] = 0
    embedding_size: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="How many rows each round has.", extra={"unit": "rows"})
    ] = 0


class DefaultRowConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an id without a row counts as, instead of zeros. One of the two."""

    value: Annotated[float | None, Meta(description="Each number of the row.", extra={"default": "none"})] = None
    id: Annotated[
        int | None,
        Meta(description="An id of the slot whose row it is, from -2^63 to 2^64 - 1.", extra={"default": "none"}),
    ] = None


# Defaults are left out where a config is sent: so a client of an older release understands one without newer keys.
class SlotConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One sparse feature."""

    dim: Annotated[int, Meta(ge=1, le=65_535, description="The width of a row.", extra={"unit": "floats"})]
    sample_fixed_size: Annotated[
        int,
        Meta(ge=1, le=65_535, description="How many ids of a sample a raw slot has room for.", extra={"unit": "ids"}),
    ] = 10
    keep: Annotated[
        Keep,
        Meta(
            description="Which ids of a sample a raw slot keeps when there are more than it has room for. `all` refuses a "
            "request with such a sample."
        ),
    ] = "first"
    pooling: Annotated[
        Pooling | None,
        Meta(
            description="How the rows of a sample become an embedding. `sum`, `mean` and `sqrtn` (the sum divided by the "
            "square root of the number of ids) give [batch, dim]. `raw` keeps one row for each id: [batch, sample_fixed_size, "
            "dim + 1].",
            extra={"default": "sum"},
        ),
    ] = None
    weighted: Annotated[
        bool, Meta(description="Whether each id has a weight by which its row is multiplied. Raw slots have no weights.")
    ] = False
    embedding_summation: Annotated[
        bool | None, Meta(description="Persia's name: false is `pooling: raw`.", extra={"default": "true"})
    ] = None
    sqrt_scaling: Annotated[
        bool | None,
        Meta(
            description="Persia's name: true is `pooling: sqrtn`. In a raw slot the sum of an id's rows in a hash stack is "
            "divided by the square root of their number.",
            extra={"default": "false"},
        ),
    ] = None
    hash_stack_config: HashStackConfig = HashStackConfig()
    output: Annotated[
        Output,
        Meta(
            description="The numbers of the embeddings. `f32` is not rounded, and its rows are added in the order in which a "
            "sample has their ids, whatever the number of servers."
        ),
    ] = "f16"
    modulo: Annotated[
        int,
        Meta(
            ge=0,
            le=2**63 - 1,
            description="By which number ids are taken before they are looked up: `id % modulo` as in Python and torch, which "
            "is never negative; ids from 2^63 on, and so half of all hashes, are negative numbers. 0 leaves ids as they are.",
        ),
    ] = 0
    ids_are_signs: Annotated[
        bool,
        Meta(
            description="Whether ids are the signs of rows, without a prefix: for keys of 64 bits that another system made. "
            "All slots with `ids_are_signs: true` share the rows of equal ids."
        ),
    ] = False
    default_row: DefaultRowConfig = DefaultRowConfig()


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot with everything a lookup needs to know. `group_number` counts from 0; `prefix` is added to ids.

    A slot with `ids_are_signs` is a group of its own, without a number (-1) and a prefix (0).
    `embedding_summation` and `sqrt_scaling` follow from `pooling`; but a raw slot may have `sqrt_scaling`, too.
    """

    name: str
    dim: int
    pooling: Pooling = "sum"
    weighted: bool = False
    keep: Keep = "first"
    sample_fixed_size: int
    embedding_summation: bool
    sqrt_scaling: bool
    hash_stack_rounds: int
    hash_stack_size: int
    group: str
    group_number: int
    prefix: int
    prefix_bits: int
    output: Output = "f16"
    modulo: int = 0
    ids_are_signs: bool = False
    default_value: float | None = None
    default_id: int | None = None


_USUAL = SlotConfig(dim=1)
_F32_MAX = 3.4028234663852886e38
_F16_END = 65_520.0  # what is nearer to zero rounds to a number of float16


class EmbeddingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """embedding_config.yml. `slots` is what a lookup works with; the other fields are the file as it stands.

    The prefix of a slot follows from the place of its group in the file. So another order of slots or groups is another
    table, in which a checkpoint's rows are not found; `fingerprint` tells two such files apart.
    """

    feature_index_prefix_bit: Annotated[
        int,
        Meta(
            ge=1,
            le=63,
            description="How many high bits of a sign hold the number of the group. There is room for 2^bits - 1 groups.",
            extra={"unit": "bits"},
        ),
    ] = 8
    slots_config: Annotated[
        dict[str, SlotConfig], Meta(description="The slots, in order, by feature name.", extra={"type": "a mapping"})
    ]
    feature_groups: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="Slots that share one prefix, and so share the rows of equal ids. Groups are numbered in the order of "
            "the file. Every other slot becomes a group of its own after them.",
            extra={"type": "a mapping of group names to lists of slot names"},
        ),
    ] = {}

    def __post_init__(self) -> None:
        if not self.slots_config:
            raise ConfigError("expected at least one slot, got none", "$.slots_config")
        _ = self.slots  # computed now, so that what is wrong with it shows now

    @cached_property
    def slots(self) -> Mapping[str, Slot]:
        """By name, in file order."""
        group_of = _groups(self)
        numbers = {group: number for number, group in enumerate([*self.feature_groups, *_ungrouped(self, group_of)])}
        bits = self.feature_index_prefix_bit
        if len(numbers) >= 1 << bits:
            # Persia notices a shift that is too wide, but not a number that is: its group after the last has the prefix 0.
            problem = f"{bits} bits have room for {(1 << bits) - 1} groups, got {len(numbers)}"
            raise ConfigError(f"{problem}: at least {len(numbers).bit_length()} bits are needed", "$.feature_index_prefix_bit")
        slots = {}
        for name, config in self.slots_config.items():
            group, number = group_of.get(name, name), -1
            if not config.ids_are_signs:
                number = numbers[group]
            stack = config.hash_stack_config
            place = child_path("$.slots_config", name)
            _check_hash_stack(stack, f"{place}.hash_stack_config.embedding_size")
            _check_id_rule(config, place)
            _check_default_sign(config, bits, len(numbers), f"{place}.default_row.id")
            pooling = _pooling(config, place)
            slots[name] = Slot(
                name=name,
                dim=config.dim,
                pooling=pooling,
                weighted=config.weighted,
                keep=config.keep,
                sample_fixed_size=config.sample_fixed_size,
                embedding_summation=pooling != "raw",
                sqrt_scaling=pooling == "sqrtn" or (pooling == "raw" and bool(config.sqrt_scaling)),
                hash_stack_rounds=stack.hash_stack_rounds,
                hash_stack_size=stack.embedding_size if stack.hash_stack_rounds else 0,
                group=group,
                group_number=number,
                prefix=(number + 1) << (64 - bits),
                prefix_bits=bits,
                output=config.output,
                modulo=config.modulo,
                ids_are_signs=config.ids_are_signs,
                default_value=None if config.default_row.value is None else float(config.default_row.value),
                default_id=None if config.default_row.id is None else config.default_row.id % (1 << 64),
            )
        return slots

    @cached_property
    def fingerprint(self) -> str:
        """The same for two configs exactly if they give the same tensors.

        That is: if they have the same slots, each with the same dim, rule for its signs, pooling, and length where it is raw.
        """
        facts = [facts_of(slot) for slot in self.slots.values()]
        facts = sorted(slot._replace(keep=slot.keep or "first") for slot in facts)  # what is not said is the default
        return hashlib.sha256(json.dumps([hashed_facts(slot) for slot in facts]).encode()).hexdigest()[:32]

    @cached_property
    def fingerprint_id(self) -> int:
        """The first 8 bytes of the fingerprint, as a number that messages have room for; never 0, which says nothing."""
        return int(self.fingerprint[:16], 16) or 1


def _groups(config: EmbeddingConfig) -> dict[str, str]:
    """Slot name -> group name, for the slots that are in a group."""
    group_of: dict[str, str] = {}
    for group, members in config.feature_groups.items():
        for i, name in enumerate(members):
            place = child_path(child_path("$.feature_groups", group), i)
            if name not in config.slots_config:
                raise ConfigError(f"`{name}` is not a slot", place)
            if config.slots_config[name].ids_are_signs:
                raise ConfigError(
                    f"`{name}` has `ids_are_signs: true`, and such slots are in no group: they share all rows", place
                )
            if name in group_of:
                raise ConfigError(f"the slot `{name}` is in a group already, `{group_of[name]}`", place)
            group_of[name] = group
    return group_of


def _ungrouped(config: EmbeddingConfig, group_of: dict[str, str]) -> list[str]:
    names = [name for name in config.slots_config if name not in group_of]
    for name in names:
        if name in config.feature_groups:
            problem = "a group cannot have the name of a slot that is in no group"
            raise ConfigError(problem, child_path("$.feature_groups", name))
    return [name for name in names if not config.slots_config[name].ids_are_signs]


def _pooling(config: SlotConfig, place: str) -> Pooling:
    """What the new key or the two old ones say, which may not contradict each other."""
    summed, scaled, pooling = config.embedding_summation, config.sqrt_scaling, config.pooling
    if pooling is None:
        pooling = "raw" if summed is False else "sqrtn" if scaled else "sum"
    if summed is not None and summed == (pooling == "raw"):
        raise _contradiction("embedding_summation", summed, pooling, place)
    if scaled is not None and pooling != "raw" and scaled != (pooling == "sqrtn"):
        raise _contradiction("sqrt_scaling", scaled, pooling, place)
    if pooling == "raw" and config.weighted:
        raise ConfigError(
            "a raw slot has no weights: its rows are not pooled, so the model can weigh them", f"{place}.weighted"
        )
    if pooling != "raw" and config.keep != "first":
        raise ConfigError(f"`keep: {config.keep}` is for raw slots: pooling takes all ids of a sample", f"{place}.keep")
    return pooling


def _contradiction(key: str, value: bool, pooling: Pooling, place: str) -> ConfigError:
    return ConfigError(f"`{key}: {str(value).lower()}` contradicts `pooling: {pooling}`: leave `{key}` out", f"{place}.pooling")


def _check_id_rule(config: SlotConfig, place: str) -> None:
    default = config.default_row
    if default.value is not None and default.id is not None:
        raise ConfigError("expected a value or an id, got both", f"{place}.default_row")
    if default.value is not None and not abs(default.value) <= _F32_MAX:  # nor NaN
        raise ConfigError(f"expected a number that float32 holds, got {default.value}", f"{place}.default_row.value")
    if default.id is not None and not -(1 << 63) <= default.id < 1 << 64:
        raise ConfigError(f"expected an id from -2^63 to 2^64 - 1, got {default.id}", f"{place}.default_row.id")
    if config.output == "f16" and default.value is not None and not abs(default.value) < _F16_END:
        raise ConfigError(
            f"expected a number that float16 holds, or `output: f32`, got {default.value}", f"{place}.default_row.value"
        )
    if config.modulo and default.id is not None and not 0 <= default.id < config.modulo:
        raise ConfigError(
            f"expected an id from 0 to {config.modulo - 1}, for ids are taken modulo {config.modulo}, got {default.id}",
            f"{place}.default_row.id",
        )
    if config.hash_stack_config.hash_stack_rounds:
        for key in ("modulo", "ids_are_signs", "default_row"):
            if getattr(config, key) != getattr(_USUAL, key):
                raise ConfigError(f"`{key}` is for slots without a hash stack: leave one of the two out", f"{place}.{key}")


def _check_default_sign(config: SlotConfig, bits: int, groups: int, place: str) -> None:
    """A default row whose id is a sign may not be a row of a group: each lookup would be refused."""
    id = config.default_row.id
    if config.ids_are_signs and id is not None and 1 <= (group := id % (1 << 64) >> (64 - bits)) <= groups:
        raise ConfigError(f"the id {id} would be a sign of group {group - 1}, because `ids_are_signs` is true", place)


def _check_hash_stack(stack: HashStackConfig, place: str) -> None:
    rounds, size = stack.hash_stack_rounds, stack.embedding_size
    if rounds and not size:
        raise ConfigError(f"expected at least 1 row for {rounds} hash stack rounds, got 0", place)
    if rounds * size > 1 << 64:
        raise ConfigError(f"{rounds} rounds of {size} rows do not fit in 64 bits", place)
