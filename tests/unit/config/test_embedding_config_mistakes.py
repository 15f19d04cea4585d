"""What every mistake in embedding_config.yml says."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from persia.config import load_embedding_config, parse_embedding_config
from persia.errors import ConfigError
from tests.support.config_fuzz import config_or_error, mutants, trees
from tests.support.embedding_configs import TEXTS, error_of
from tests.support.examples import examples


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature_index_prefix_bit: 8", "line 1: expected the key `slots_config`, got none - at `$`"),
        ("slots_config: {}", "expected at least one slot, got none - at `$.slots_config`"),
        ("slots_config:", "expected at least one slot, got none - at `$.slots_config`"),
        ("slots_config: [a]", "line 1: expected a mapping, got a list - at `$.slots_config`"),
        ("slots_config: {age: {}}", "line 1: expected the key `dim`, got none - at `$.slots_config.age`"),
        ("slots_config: {age: }", "line 1: expected the key `dim`, got none - at `$.slots_config.age`"),
        ("slots_config: {age: 8}", "line 1: expected a mapping, got `8` - at `$.slots_config.age`"),
        ("slots_config: {my age: 8}", 'line 1: expected a mapping, got `8` - at `$.slots_config["my age"]`'),
        (
            "slots_config:\n  age:\n    dim: eight\n",
            "line 3: expected an integer from 1 to 65535, got `eight` - at `$.slots_config.age.dim`",
        ),
        ("slots_config: {a: {dim: 0}}", "line 1: expected an integer from 1 to 65535, got `0` - at `$.slots_config.a.dim`"),
        (
            "slots_config: {a: {dim: 65536}}",
            "line 1: expected an integer from 1 to 65535, got `65536` - at `$.slots_config.a.dim`",
        ),
        ("slots_config: {a: {dim: 8.0}}", "line 1: expected an integer from 1 to 65535, got `8.0` - at `$.slots_config.a.dim`"),
        (
            "slots_config: {a: {dim: " + "9" * 5000 + "}}",
            f"line 1: expected an integer from 1 to 65535, got `{'9' * 57}...` - at `$.slots_config.a.dim`",
        ),
        (
            "slots_config: {a: {dim: 1, sample_fixed_size: 0}}",
            "line 1: expected an integer from 1 to 65535, got `0` - at `$.slots_config.a.sample_fixed_size`",
        ),
        (
            "slots_config: {a: {dim: 1, embedding_sumation: true}}",
            "line 1: unknown key `embedding_sumation`, did you mean `embedding_summation`?"
            " - at `$.slots_config.a.embedding_sumation`",
        ),
        (
            "slots_config: {a: {dim: 1, pooling: mean, embedding_summation: false}}",
            "`embedding_summation: false` contradicts `pooling: mean`: leave `embedding_summation` out"
            " - at `$.slots_config.a.pooling`",
        ),
        (
            "slots_config: {a: {dim: 1, pooling: raw, embedding_summation: true}}",
            "`embedding_summation: true` contradicts `pooling: raw`: leave `embedding_summation` out"
            " - at `$.slots_config.a.pooling`",
        ),
        (
            "slots_config: {a: {dim: 1, pooling: sum, sqrt_scaling: true}}",
            "`sqrt_scaling: true` contradicts `pooling: sum`: leave `sqrt_scaling` out - at `$.slots_config.a.pooling`",
        ),
        (
            "slots_config: {a: {dim: 1, pooling: sqrtn, sqrt_scaling: false}}",
            "`sqrt_scaling: false` contradicts `pooling: sqrtn`: leave `sqrt_scaling` out - at `$.slots_config.a.pooling`",
        ),
        (
            "slots_config: {a: {dim: 1, pooling: raw, weighted: true}}",
            "a raw slot has no weights: its rows are not pooled, so the model can weigh them - at `$.slots_config.a.weighted`",
        ),
        (
            "slots_config: {a: {dim: 1, keep: last}}",
            "`keep: last` is for raw slots: pooling takes all ids of a sample - at `$.slots_config.a.keep`",
        ),
        (
            "slots_config: {a: {dim: 1, pooling: max}}",
            "line 1: expected `mean` or `raw` or `sqrtn` or `sum`, got `max` - at `$.slots_config.a.pooling`",
        ),
        (
            "slots_config: {a: {dim: 1, sqrt_scaling: 1}}",
            "line 1: expected true or false, got `1` - at `$.slots_config.a.sqrt_scaling`",
        ),
        (
            "slots_config: {a: {dim: 1, hash_stack_config: {hash_stack_rounds: 2}}}",
            "expected at least 1 row for 2 hash stack rounds, got 0 - at `$.slots_config.a.hash_stack_config.embedding_size`",
        ),
        (
            f"slots_config: {{a: {{dim: 1, hash_stack_config: {{hash_stack_rounds: 3, embedding_size: {2**63 - 1}}}}}}}",
            "3 rounds of 9223372036854775807 rows do not fit in 64 bits"
            " - at `$.slots_config.a.hash_stack_config.embedding_size`",
        ),
        (
            "slots_config: {a: {dim: 1, index_prefix: 5}}",
            "line 1: expected no prefix but the computed one, got `5`: use `feature_groups`"
            " - at `$.slots_config.a.index_prefix`",
        ),
        (
            "{slots_config: {a: {dim: 1}}, feature_index_prefix_bit: 64}",
            "line 1: expected an integer from 1 to 63, got `64` - at `$.feature_index_prefix_bit`",
        ),
        (
            "{slots_config: {a: {dim: 1}}, feature_index_prefix_bit: 0}",
            "line 1: expected an integer from 1 to 63, got `0` - at `$.feature_index_prefix_bit`",
        ),
        ("{slots_config: {a: {dim: 1}}, feature_groups: {g: [b]}}", "`b` is not a slot - at `$.feature_groups.g[0]`"),
        (
            "{slots_config: {a: {dim: 1}}, feature_groups: {g: [a], h: [a]}}",
            "the slot `a` is in a group already, `g` - at `$.feature_groups.h[0]`",
        ),
        (
            "{slots_config: {a: {dim: 1}}, feature_groups: {g: [a, a]}}",
            "the slot `a` is in a group already, `g` - at `$.feature_groups.g[1]`",
        ),
        (
            "{slots_config: {a: {dim: 1}, b: {dim: 1}}, feature_groups: {a: [b]}}",
            "a group cannot have the name of a slot that is in no group - at `$.feature_groups.a`",
        ),
        (
            "{slots_config: {a: {dim: 1}}, feature_groups: [a]}",
            "line 1: expected a mapping, got a list - at `$.feature_groups`",
        ),
        ("{slots_config: {a: {dim: 1}}, feature_groups: {g: a}}", "line 1: expected a list, got `a` - at `$.feature_groups.g`"),
        (
            "{slots_config: {a: {dim: 1}}, feature_groups: {g: [[a]]}}",
            "line 1: expected a text, got a list - at `$.feature_groups.g[0]`",
        ),
        (
            "slots_config:\n  a: {dim: 1}\n  b: {dim: 1}\n  a: {dim: 2}\n",
            "line 4: the key `a` stands twice, first on line 2 - at `$.slots_config.a`",
        ),
        (
            "slots_config: {a: {dim: 1}}\nslot_config: {a: {dim: 1}}\n",
            "line 2: an old name of `slots_config`, which is also set on line 1 - at `$.slot_config`",
        ),
        ("slot_config:\n  a: {dim: x}\n", "line 2: expected an integer from 1 to 65535, got `x` - at `$.slot_config.a.dim`"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    assert error_of(text) == message


def test_mistakes_between_slots_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "e.yml"
    path.write_text("{slots_config: {a: {dim: 1}}, feature_groups: {g: [b]}}")
    with pytest.raises(ConfigError) as caught:
        load_embedding_config(path)
    assert str(caught.value) == f"{path}: `b` is not a slot - at `$.feature_groups.g[0]`"


KEYS = sorted({part for text in TEXTS for part in re.findall(r"(\w+):", text)})


@settings(max_examples=examples(300), deadline=None)
@given(trees(KEYS))
def test_any_tree_is_a_config_or_a_config_error(tree: object) -> None:
    config_or_error(parse_embedding_config, tree)


@settings(max_examples=examples(500), deadline=None)
@given(mutants(TEXTS))
def test_any_broken_text_is_a_config_or_a_config_error(text: bytes) -> None:
    config_or_error(parse_embedding_config, text)
