from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LookupRequest(_message.Message):
    __slots__ = ("parts", "signs", "sum_counts", "sum_samples", "shard_index", "shard_count", "epoch", "dense_model", "dense_version", "variant", "padding")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SIGNS_FIELD_NUMBER: _ClassVar[int]
    SUM_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SHARD_INDEX_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DENSE_MODEL_FIELD_NUMBER: _ClassVar[int]
    DENSE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    parts: bytes
    signs: bytes
    sum_counts: bytes
    sum_samples: bytes
    shard_index: int
    shard_count: int
    epoch: int
    dense_model: int
    dense_version: int
    variant: int
    padding: bytes
    def __init__(self, parts: _Optional[bytes] = ..., signs: _Optional[bytes] = ..., sum_counts: _Optional[bytes] = ..., sum_samples: _Optional[bytes] = ..., shard_index: _Optional[int] = ..., shard_count: _Optional[int] = ..., epoch: _Optional[int] = ..., dense_model: _Optional[int] = ..., dense_version: _Optional[int] = ..., variant: _Optional[int] = ..., padding: _Optional[bytes] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("numbers", "version", "absent", "wrong_dim", "server_start", "misses", "checkpoint_id", "epoch", "epoch_low", "epoch_high", "run_first", "run_last", "padding", "variant")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    WRONG_DIM_FIELD_NUMBER: _ClassVar[int]
    SERVER_START_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_LOW_FIELD_NUMBER: _ClassVar[int]
    EPOCH_HIGH_FIELD_NUMBER: _ClassVar[int]
    RUN_FIRST_FIELD_NUMBER: _ClassVar[int]
    RUN_LAST_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    numbers: bytes
    version: int
    absent: int
    wrong_dim: int
    server_start: int
    misses: bytes
    checkpoint_id: int
    epoch: int
    epoch_low: int
    epoch_high: int
    run_first: int
    run_last: int
    padding: bytes
    variant: int
    def __init__(self, numbers: _Optional[bytes] = ..., version: _Optional[int] = ..., absent: _Optional[int] = ..., wrong_dim: _Optional[int] = ..., server_start: _Optional[int] = ..., misses: _Optional[bytes] = ..., checkpoint_id: _Optional[int] = ..., epoch: _Optional[int] = ..., epoch_low: _Optional[int] = ..., epoch_high: _Optional[int] = ..., run_first: _Optional[int] = ..., run_last: _Optional[int] = ..., padding: _Optional[bytes] = ..., variant: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("rows_for", "figures")
    ROWS_FOR_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    rows_for: _containers.RepeatedCompositeFieldContainer[RowsFor]
    figures: bool
    def __init__(self, rows_for: _Optional[_Iterable[_Union[RowsFor, _Mapping]]] = ..., figures: bool = ...) -> None: ...

class RowsFor(_message.Message):
    __slots__ = ("model", "version", "variant")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    model: int
    version: int
    variant: int
    def __init__(self, model: _Optional[int] = ..., version: _Optional[int] = ..., variant: _Optional[int] = ...) -> None: ...

class EpochRun(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("shard_index", "shard_count", "ready", "state", "version", "rows", "rows_by_dim", "bytes", "evicted", "checkpoint", "last_packet", "packets_applied", "set_aside", "problems", "server_start", "checkpoint_id", "checkpoint_seconds", "checkpoint_by_epochs", "deployment", "features", "non_finite_rows", "deleted_rows", "expired_rows", "epoch", "epoch_low", "newest_epoch", "epoch_stalled", "epoch_stalled_seconds", "epochs_held", "packets_waiting", "retained_bytes", "epochs_given_up", "readable", "variants", "lookups", "update_delays", "unknown_variant_lookups")
    class RowsByDimEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    SHARD_INDEX_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_BY_DIM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LAST_PACKET_FIELD_NUMBER: _ClassVar[int]
    PACKETS_APPLIED_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    SERVER_START_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_BY_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_ROWS_FIELD_NUMBER: _ClassVar[int]
    DELETED_ROWS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_ROWS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_LOW_FIELD_NUMBER: _ClassVar[int]
    NEWEST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STALLED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STALLED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_HELD_FIELD_NUMBER: _ClassVar[int]
    PACKETS_WAITING_FIELD_NUMBER: _ClassVar[int]
    RETAINED_BYTES_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    READABLE_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_DELAYS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_VARIANT_LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    shard_index: int
    shard_count: int
    ready: bool
    state: str
    version: int
    rows: int
    rows_by_dim: _containers.ScalarMap[int, int]
    bytes: int
    evicted: int
    checkpoint: str
    last_packet: str
    packets_applied: int
    set_aside: _containers.RepeatedCompositeFieldContainer[SetAsidePacket]
    problems: _containers.RepeatedScalarFieldContainer[str]
    server_start: int
    checkpoint_id: int
    checkpoint_seconds: int
    checkpoint_by_epochs: bool
    deployment: str
    features: _containers.RepeatedCompositeFieldContainer[FeatureTotals]
    non_finite_rows: int
    deleted_rows: int
    expired_rows: int
    epoch: int
    epoch_low: int
    newest_epoch: int
    epoch_stalled: str
    epoch_stalled_seconds: float
    epochs_held: bool
    packets_waiting: int
    retained_bytes: int
    epochs_given_up: int
    readable: _containers.RepeatedCompositeFieldContainer[EpochRun]
    variants: _containers.RepeatedCompositeFieldContainer[VariantStatus]
    lookups: LookupFigures
    update_delays: Durations
    unknown_variant_lookups: int
    def __init__(self, shard_index: _Optional[int] = ..., shard_count: _Optional[int] = ..., ready: bool = ..., state: _Optional[str] = ..., version: _Optional[int] = ..., rows: _Optional[int] = ..., rows_by_dim: _Optional[_Mapping[int, int]] = ..., bytes: _Optional[int] = ..., evicted: _Optional[int] = ..., checkpoint: _Optional[str] = ..., last_packet: _Optional[str] = ..., packets_applied: _Optional[int] = ..., set_aside: _Optional[_Iterable[_Union[SetAsidePacket, _Mapping]]] = ..., problems: _Optional[_Iterable[str]] = ..., server_start: _Optional[int] = ..., checkpoint_id: _Optional[int] = ..., checkpoint_seconds: _Optional[int] = ..., checkpoint_by_epochs: bool = ..., deployment: _Optional[str] = ..., features: _Optional[_Iterable[_Union[FeatureTotals, _Mapping]]] = ..., non_finite_rows: _Optional[int] = ..., deleted_rows: _Optional[int] = ..., expired_rows: _Optional[int] = ..., epoch: _Optional[int] = ..., epoch_low: _Optional[int] = ..., newest_epoch: _Optional[int] = ..., epoch_stalled: _Optional[str] = ..., epoch_stalled_seconds: _Optional[float] = ..., epochs_held: bool = ..., packets_waiting: _Optional[int] = ..., retained_bytes: _Optional[int] = ..., epochs_given_up: _Optional[int] = ..., readable: _Optional[_Iterable[_Union[EpochRun, _Mapping]]] = ..., variants: _Optional[_Iterable[_Union[VariantStatus, _Mapping]]] = ..., lookups: _Optional[_Union[LookupFigures, _Mapping]] = ..., update_delays: _Optional[_Union[Durations, _Mapping]] = ..., unknown_variant_lookups: _Optional[int] = ...) -> None: ...

class VariantStatus(_message.Message):
    __slots__ = ("name", "rows", "bytes", "lookups")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: int
    bytes: int
    lookups: int
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., lookups: _Optional[int] = ...) -> None: ...

class LookupFigures(_message.Message):
    __slots__ = ("took", "failed")
    TOOK_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    took: Durations
    failed: int
    def __init__(self, took: _Optional[_Union[Durations, _Mapping]] = ..., failed: _Optional[int] = ...) -> None: ...

class Durations(_message.Message):
    __slots__ = ("bounds", "within", "seconds")
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    bounds: _containers.RepeatedScalarFieldContainer[float]
    within: _containers.RepeatedScalarFieldContainer[int]
    seconds: float
    def __init__(self, bounds: _Optional[_Iterable[float]] = ..., within: _Optional[_Iterable[int]] = ..., seconds: _Optional[float] = ...) -> None: ...

class FeatureTotals(_message.Message):
    __slots__ = ("name", "ids", "new_ids", "wrong_dim", "cut")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    NEW_IDS_FIELD_NUMBER: _ClassVar[int]
    WRONG_DIM_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    ids: int
    new_ids: int
    wrong_dim: int
    cut: int
    def __init__(self, name: _Optional[str] = ..., ids: _Optional[int] = ..., new_ids: _Optional[int] = ..., wrong_dim: _Optional[int] = ..., cut: _Optional[int] = ...) -> None: ...

class SetAsidePacket(_message.Message):
    __slots__ = ("packet", "reason")
    PACKET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    packet: str
    reason: str
    def __init__(self, packet: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
