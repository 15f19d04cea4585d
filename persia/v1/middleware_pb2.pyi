from persia.v1 import embedding_pb2 as _embedding_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ForwardRequest(_message.Message):
    __slots__ = ("batch", "ids", "timeout_ms", "min_epoch", "dense_model", "dense_version", "variant", "takes_floats", "padding")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DENSE_MODEL_FIELD_NUMBER: _ClassVar[int]
    DENSE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    TAKES_FLOATS_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    batch: bytes
    ids: bytes
    timeout_ms: int
    min_epoch: int
    dense_model: int
    dense_version: int
    variant: int
    takes_floats: bool
    padding: bytes
    def __init__(self, batch: _Optional[bytes] = ..., ids: _Optional[bytes] = ..., timeout_ms: _Optional[int] = ..., min_epoch: _Optional[int] = ..., dense_model: _Optional[int] = ..., dense_version: _Optional[int] = ..., variant: _Optional[int] = ..., takes_floats: bool = ..., padding: _Optional[bytes] = ...) -> None: ...

class ForwardResponse(_message.Message):
    __slots__ = ("tensors", "shapes", "versions", "absent", "wrong_dim", "missing_shards", "features", "embedding_config_id", "checkpoint_id", "epoch", "variant", "padding")
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    WRONG_DIM_FIELD_NUMBER: _ClassVar[int]
    MISSING_SHARDS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    tensors: bytes
    shapes: bytes
    versions: _containers.RepeatedScalarFieldContainer[int]
    absent: int
    wrong_dim: int
    missing_shards: _containers.RepeatedScalarFieldContainer[int]
    features: bytes
    embedding_config_id: int
    checkpoint_id: int
    epoch: int
    variant: int
    padding: bytes
    def __init__(self, tensors: _Optional[bytes] = ..., shapes: _Optional[bytes] = ..., versions: _Optional[_Iterable[int]] = ..., absent: _Optional[int] = ..., wrong_dim: _Optional[int] = ..., missing_shards: _Optional[_Iterable[int]] = ..., features: _Optional[bytes] = ..., embedding_config_id: _Optional[int] = ..., checkpoint_id: _Optional[int] = ..., epoch: _Optional[int] = ..., variant: _Optional[int] = ..., padding: _Optional[bytes] = ...) -> None: ...

class MiddlewareStatusRequest(_message.Message):
    __slots__ = ("rows_for", "figures")
    ROWS_FOR_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    rows_for: _embedding_pb2.RowsFor
    figures: bool
    def __init__(self, rows_for: _Optional[_Union[_embedding_pb2.RowsFor, _Mapping]] = ..., figures: bool = ...) -> None: ...

class MiddlewareStatusResponse(_message.Message):
    __slots__ = ("ready", "state", "shards", "embedding_config", "embedding_config_id", "features", "forwards", "deployment")
    READY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    FORWARDS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    state: str
    shards: _containers.RepeatedCompositeFieldContainer[ShardStatus]
    embedding_config: bytes
    embedding_config_id: int
    features: _containers.RepeatedCompositeFieldContainer[_embedding_pb2.FeatureTotals]
    forwards: _embedding_pb2.LookupFigures
    deployment: str
    def __init__(self, ready: bool = ..., state: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[ShardStatus, _Mapping]]] = ..., embedding_config: _Optional[bytes] = ..., embedding_config_id: _Optional[int] = ..., features: _Optional[_Iterable[_Union[_embedding_pb2.FeatureTotals, _Mapping]]] = ..., forwards: _Optional[_Union[_embedding_pb2.LookupFigures, _Mapping]] = ..., deployment: _Optional[str] = ...) -> None: ...

class ShardStatus(_message.Message):
    __slots__ = ("shard_index", "replicas")
    SHARD_INDEX_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    shard_index: int
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaStatus]
    def __init__(self, shard_index: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[ReplicaStatus, _Mapping]]] = ...) -> None: ...

class ReplicaStatus(_message.Message):
    __slots__ = ("address", "ready", "state", "version", "rows", "checkpoint_id", "checkpoint_seconds", "epoch_low", "epoch_high")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_LOW_FIELD_NUMBER: _ClassVar[int]
    EPOCH_HIGH_FIELD_NUMBER: _ClassVar[int]
    address: str
    ready: bool
    state: str
    version: int
    rows: int
    checkpoint_id: int
    checkpoint_seconds: int
    epoch_low: int
    epoch_high: int
    def __init__(self, address: _Optional[str] = ..., ready: bool = ..., state: _Optional[str] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ..., checkpoint_id: _Optional[int] = ..., checkpoint_seconds: _Optional[int] = ..., epoch_low: _Optional[int] = ..., epoch_high: _Optional[int] = ...) -> None: ...

class DirectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DirectionsResponse(_message.Message):
    __slots__ = ("shards", "embedding_config", "server_starts", "hedge_after_ms", "mixed_checkpoints")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    SERVER_STARTS_FIELD_NUMBER: _ClassVar[int]
    HEDGE_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    MIXED_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[ShardDirections]
    embedding_config: bytes
    server_starts: _containers.RepeatedScalarFieldContainer[int]
    hedge_after_ms: int
    mixed_checkpoints: str
    def __init__(self, shards: _Optional[_Iterable[_Union[ShardDirections, _Mapping]]] = ..., embedding_config: _Optional[bytes] = ..., server_starts: _Optional[_Iterable[int]] = ..., hedge_after_ms: _Optional[int] = ..., mixed_checkpoints: _Optional[str] = ...) -> None: ...

class ShardDirections(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...
