"""Texts of embedding_config.yml of all generations, and ways to parse what is right, old or wrong; shared by its tests."""

import warnings

import pytest

from persia.config import ConfigWarning, EmbeddingConfig, parse_embedding_config
from persia.errors import ConfigError

MIXED = """\
feature_index_prefix_bit: 12
slots_config:
  user_id:
    dim: 8
  clicked:
    dim: 8
    embedding_summation: false
    sample_fixed_size: 5
  bought:
    dim: 16
    sqrt_scaling: true
  query:
    dim: 8
    hash_stack_config:
      hash_stack_rounds: 2
      embedding_size: 500
  seen:
    dim: 8
feature_groups:
  items:
  - seen
  - clicked
"""

TUTORIAL = """\
feature_index_prefix_bit: 8
slot_config:
  workclass:
    dim: 8
    embedding_summation: true
  education:
    dim: 8
    embedding_summation: true
  race:
    dim: 8
feature_groups:
  group1:
    - workclass
    - race
"""

FIRST = """\
forward_buffer_size: 1000
feature_index_prefix_bit: 12
slot_config:
  feature1:
    dim: 64
    embedding_summation: true
    sample_fixed_size: 30
    is_pid: true
    is_uid: false
    index_prefix: 0
  feature2:
    dim: 64
    hash_stack_config:
      hash_stack_rounds: 2
      embedding_size: 4000000
feature_groups: {}
target_config:
  - name: unused
    negative: [unused]
    positive: [unused]
"""

PER_SLOT_CAPACITY = "feature_index_prefix_bit: 12\nslots_config:\n  a:\n    dim: 8\n    capacity: 100000\nfeature_groups: {}\n"

TEXTS = [MIXED, TUTORIAL, FIRST, PER_SLOT_CAPACITY]


def parse(text: str | bytes) -> EmbeddingConfig:
    """Parses a text that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return parse_embedding_config(text)


def parse_old(text: str) -> tuple[EmbeddingConfig, list[str]]:
    with pytest.warns(ConfigWarning) as caught:
        config = parse_embedding_config(text, "e.yml")
    return config, [str(w.message) for w in caught]


def error_of(text: str | bytes) -> str:
    with warnings.catch_warnings(), pytest.raises(ConfigError) as caught:
        warnings.simplefilter("ignore", ConfigWarning)
        parse_embedding_config(text)
    return str(caught.value)
