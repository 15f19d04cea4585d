"""What is checked: the configs, the checkpoint and the packets of one deployment."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime as DateTime
from pathlib import Path
from typing import TypeVar

from persia.checking.leaves import packets_since
from persia.checking.report import Report
from persia.config import (
    ConfigWarning,
    EmbeddingConfig,
    EmbeddingParameterServerConfig,
    GlobalConfig,
    load_embedding_config,
    load_global_config,
)
from persia.errors import CorruptFile, InvalidInput, PersiaError
from persia.formats.checkpoint import Checkpoint, open_checkpoint_at
from persia.formats.layout import JOURNALS, SHARD_LIKE
from persia.storage import Place, place_of
from persia.system.address import host_and_port, is_loopback

__all__ = ["Subject", "is_local", "read_subject"]

_CLOCK_SECONDS = 60  # by which the clocks of two machines may differ

_Config = TypeVar("_Config", GlobalConfig, EmbeddingConfig)


@dataclass
class Subject:
    """None stands for what cannot be read; why is in the report."""

    global_config: GlobalConfig | None
    embedding_config: EmbeddingConfig | None
    servers: tuple[tuple[str, ...], ...]  # of each shard its replicas
    checkpoint: Checkpoint | None = None
    packets: tuple[tuple[Path, ...], ...] = ()  # the files of each that servers would apply, the oldest first

    @property
    def workers(self) -> int:
        return self.global_config.common_config.checkpointing_config.num_workers if self.global_config else 4


def read_subject(
    report: Report, global_path: Path | None, embedding_path: Path | None, checkpoint: str | None, shards: int
) -> Subject:
    """Reads the configs and opens the checkpoint, `checkpoint` or the config's. `shards` counts if this names no servers."""
    settings = _load(report, "global config", load_global_config, global_path)
    slots = _load(report, "embedding config", load_embedding_config, embedding_path)
    servers: tuple[tuple[str, ...], ...] = ()
    if settings is not None:
        servers = settings.common_config.infer_config.servers
        named = ", ".join(" or ".join(replicas) for replicas in servers)
        text = f"{len(servers)} shards, in this order: {named}" if servers else f"names no servers; `up` starts {shards}"
        report.ok("config", "global config", text, shards=len(servers) or shards)
    if slots is not None:
        groups = len({slot.group for slot in slots.slots.values()})
        text = f"{len(slots.slots)} features in {groups} groups, {slots.feature_index_prefix_bit} prefix bits"
        report.ok("config", "embedding config", text, features=len(slots.slots), groups=groups, fingerprint=slots.fingerprint)
    subject = Subject(settings, slots, servers or (("",),) * shards)
    server = settings.embedding_parameter_server_config if settings is not None else EmbeddingParameterServerConfig()
    place = _place(settings, checkpoint)
    if place is not None:
        subject.checkpoint = _open(report, place, server, len(subject.servers))
    elif settings is not None:
        advice = "name one as common_config.infer_config.embedding_checkpoint, or with --checkpoint"
        report.warn("checkpoint", "", "none is named: servers start empty, and every embedding is zeros", advice)
    if settings is not None:
        subject.packets = _packets(report, settings, subject.checkpoint)
    return subject


def is_local(address: str) -> bool:
    """Whether it is of this machine: of the loopback, or of a server that `up` places."""
    host, _ = host_and_port(address)
    return not host or is_loopback(host)


def _load(report: Report, name: str, load: Callable[[Path | None], _Config], path: Path | None) -> _Config | None:
    """A config, or None and the reason in the report."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConfigWarning)
            config = load(path)
    except (PersiaError, OSError) as error:
        report.fail("config", name, str(error), f"mend it, or name another one with --{name.replace(' ', '-')}")
        return None
    for warning in caught:
        report.warn("config", name, str(warning.message), "all the rest of the file counts as it stands")
    return config


def _place(settings: GlobalConfig | None, checkpoint: str | None) -> Place | Path | None:
    """Of the checkpoint: the one that is named, or else the config's. A URL of no store stays a path, which is not there."""
    text = checkpoint
    try:
        if text is None and settings is not None:
            text = settings.common_config.infer_config.embedding_checkpoint
            return place_of(text, settings.embedding_parameter_server_config.storage) if text else None
        return place_of(text) if text else None
    except InvalidInput:
        return Path(text) if text else None


def _open(report: Report, place: Place | Path, server: EmbeddingParameterServerConfig, shards: int) -> Checkpoint | None:
    """The checkpoint as all servers together open it, or None and the reason in the report."""
    try:
        whole = open_checkpoint_at(place, Path(server.local_buffer_dir) if server.local_buffer_dir else None)
    except (PersiaError, OSError) as error:
        advice = "copy or write the checkpoint again, as a whole: no server would load this one"
        if isinstance(place, Place) and place.path is None and not isinstance(error, CorruptFile):
            advice = "see docs/storage.md: a server asks the store in the same way"
        report.fail("checkpoint", "files", str(error), advice)
        return None
    size = sum(path.stat().st_size for path in whole.files)
    written = DateTime.fromtimestamp(whole.marker.seconds).isoformat(sep=" ")
    text = f"{place}: complete, of {written}, {whole.marker.num_shards} shards, {len(whole.files)} files, {_size(size)}"
    if whole.marker.num_shards != shards:
        text += f"; with {shards} servers, each reads all files and keeps its part"
    report.ok("checkpoint", "files", text, files=len(whole.files), bytes=size, seconds=whole.marker.seconds)
    if whole.marker.seconds > time.time() + _CLOCK_SECONDS:
        advice = "set the clocks of both machines (NTP): packets that are older than the checkpoint are not applied"
        report.warn("checkpoint", "clock", f"written at {written}, which is in the future by this machine's clock", advice)
    return whole


def _packets(report: Report, settings: GlobalConfig, checkpoint: Checkpoint | None) -> tuple[tuple[Path, ...], ...]:
    """The files of each packet that servers would apply, the oldest first."""
    server = settings.embedding_parameter_server_config
    if not server.enable_incremental_update:
        return ()
    place = place_of(server.incremental_dir, server.storage)
    if place.path is None:
        _try_store(report, place)
        return ()
    directory = place.path
    if not directory.is_dir():
        advice = "make the directory, or correct incremental_dir: servers look for packets there"
        report.warn("packets", "", f"there is no directory {directory} yet", advice)
        return ()
    journal = directory / JOURNALS  # what servers have applied is noted there
    if not os.access(directory, os.R_OK | os.X_OK) or not os.access(journal if journal.exists() else directory, os.W_OK):
        advice = "let the servers' user read and write it: they note there which packets they have applied"
        report.fail("packets", "", f"{directory} cannot be read and written by this user", advice)
        return ()
    found, problems = packets_since(directory, checkpoint)
    for problem in problems:
        report.fail("packets", "files", problem, "write or copy the packet again: a server sets it aside as it is")
    report.ok("packets", "", f"{directory}: {len(found)} packets are newer than the checkpoint", packets=len(found))
    return tuple(found)


def _try_store(report: Report, place: Place) -> None:
    """Packets of a store are looked for, and not read: they would all have to be fetched."""
    try:
        shards = [name for name in place.open().directories() if SHARD_LIKE.fullmatch(name)]
    except (PersiaError, OSError) as error:
        report.fail("packets", "", str(error), "see docs/storage.md: a server asks the store in the same way")
        return
    report.ok("packets", "", f"{place}: packets of {len(shards)} training shards, which are not read here", shards=len(shards))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
