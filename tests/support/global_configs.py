"""Texts of global_config.yaml of all generations, and ways to parse what is right, old or wrong; shared by its tests."""

import warnings

import pytest

from persia.config import ConfigWarning, GlobalConfig, parse_global_config
from persia.errors import ConfigError

LAST_RELEASE = """\
common_config:
  metrics_config:
    enable_metrics: true
    push_interval_sec: 20
  job_type: Infer
  infer_config:
    servers:
      - embedding_parameter_server:8888
      - embedding_parameter_server:8889
    embedding_checkpoint: /cache/adult_income_ckpt/
  checkpointing_config:
    num_workers: 8
embedding_parameter_server_config:
  capacity: 1000000
  num_hashmap_internal_shards: 1
  enable_incremental_update: false
  incremental_buffer_size: 5000000
  incremental_channel_capacity: 1000
embedding_worker_config:
  forward_buffer_size: 1000
"""

SHARD_SERVER = """\
common_config:
  metrics_config:
    enable_metrics: true
    push_interval_sec: 20
  job_type: Infer
  infer_config:
    servers:
      - emb_server:8888
    embedding_checkpoint: /workspace/infer_checkpoint/cpu
shard_server_config:
  capacity: 10000000000
  num_hashmap_internal_shards: 128
  full_amount_manager_buffer_size: 1000
  num_persistence_workers: 6
  num_signs_per_file: 5000000
  storage: Ceph
  enable_incremental_update: true
  incremental_buffer_size: 5000000
  incremental_dir: /inc/
  incremental_channel_capacity: 1000
  embedding_recycle_pool_capacity: 10
middleware_config:
  forward_buffer_size: 1000
  buffered_data_expired_sec: 1000
"""

EMBEDDING_SERVER = """\
common_config:
  num_embedding_io_workers: 5
  metrics_config:
    enable_metrics: true
    push_interval_seconds: 20
  job_type: Infer
  infer_config:
    servers:
      - emb_server:8888
    embedding_checkpoint: /cache/infer_checkpoint
embedding_server_config:
  capacity: 1000000
  num_hashmap_internal_shards: 1
  num_embedding_io_workers: 5
  enable_incremental_update: false
middleware_config:
  forward_buffer_size: 1000
"""

CAMEL_CASE = """\
PersiaInferConfig:
  # list of embedding servers(ip:port)
  servers:
    - emb_server_1:8000
    - emb_server_2:8000
  initial_sparse_checkpoint: /your/sparse/model/dir
PersiaShardedServerConfig:
  intent: infer
  capacity: 100000000
  num_hashmap_internal_shards: 128
  full_amount_manager_buffer_size: 1000
  num_persistence_workers: 7
  num_signs_per_file: 5000000
  storage: hdfs
  enable_incremental_update: true
  local_buffer_dir: /tmp/
  incremental_buffer_size: 5000000
  incremental_dir: /inc/
  incremental_channel_capacity: 1000
PersiaMiddlewareConfig:
  forward_buffer_size: 1000
PersiaMetricsConfig:
  enable_metrics: true
  push_interval: 30
"""

GENERATIONS = [LAST_RELEASE, SHARD_SERVER, EMBEDDING_SERVER, CAMEL_CASE]


def parse(text: str | bytes) -> GlobalConfig:
    """Parses a text that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return parse_global_config(text)


def parse_old(text: str) -> tuple[GlobalConfig, list[str]]:
    with pytest.warns(ConfigWarning) as caught:
        config = parse_global_config(text, "g.yml")
    return config, [str(w.message) for w in caught]


def error_of(text: str | bytes, file: str | None = None) -> str:
    with warnings.catch_warnings(), pytest.raises(ConfigError) as caught:
        warnings.simplefilter("ignore", ConfigWarning)
        parse_global_config(text, file)
    return str(caught.value)
