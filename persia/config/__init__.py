"""The two config files of a deployment: strict, frozen, and documented by their own types.

    global_config.yaml      GlobalConfig       where the servers are and how they work
    embedding_config.yml    EmbeddingConfig    the slots of the model, as it was trained

A setting is looked for on the command line, then in the environment, then in the file; then its default counts. Every
mistake is a persia.errors.ConfigError that names file, line and key. Keys of earlier Persias still work, with a
ConfigWarning. `python -m persia.config` prints the table of all keys.
"""

from persia.config.embedding_config import EmbeddingConfig, HashStackConfig, Slot, SlotConfig
from persia.config.files import (
    EMBEDDING_CONFIG_VARIABLE,
    GLOBAL_CONFIG_VARIABLE,
    load_embedding_config,
    load_global_config,
    parse_embedding_config,
    parse_global_config,
)
from persia.config.global_config import (
    CheckpointingConfig,
    CommonConfig,
    EmbeddingParameterServerConfig,
    EmbeddingWorkerConfig,
    GlobalConfig,
    InferConfig,
    MetricsConfig,
)
from persia.config.keys import ConfigKey, config_keys
from persia.config.legacy import ConfigWarning
from persia.config.listening import SecurityWarning, check_call, check_listen
from persia.config.security import SecurityConfig

__all__ = [
    "EMBEDDING_CONFIG_VARIABLE",
    "GLOBAL_CONFIG_VARIABLE",
    "CheckpointingConfig",
    "CommonConfig",
    "ConfigKey",
    "ConfigWarning",
    "EmbeddingConfig",
    "EmbeddingParameterServerConfig",
    "EmbeddingWorkerConfig",
    "GlobalConfig",
    "HashStackConfig",
    "InferConfig",
    "MetricsConfig",
    "SecurityConfig",
    "SecurityWarning",
    "Slot",
    "SlotConfig",
    "check_call",
    "check_listen",
    "config_keys",
    "load_embedding_config",
    "load_global_config",
    "parse_embedding_config",
    "parse_global_config",
]
