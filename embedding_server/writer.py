"""The writers by the name that they first had; they are in persia.writers, and need no server."""

from persia.writers import (
    Clock,
    IncrementalDumper,
    Manifest,
    ManifestFile,
    PacketInfo,
    SystemClock,
    check_manifest,
    read_manifest,
    verify_packet,
    write_checkpoint,
)

__all__ = [
    "Clock",
    "IncrementalDumper",
    "Manifest",
    "ManifestFile",
    "PacketInfo",
    "SystemClock",
    "check_manifest",
    "read_manifest",
    "verify_packet",
    "write_checkpoint",
]
