"""Writes what an embedding server reads: checkpoints, and packets with their manifest. For trainers; needs no server.

write_checkpoint writes a directory from arrays, an IncrementalDumper packets from what a trainer commits to it, an
EpochCommitter says which packets belong together, a VariantCommitter which of them to a variant, and verify_packet whether a
packet is what its writer wrote.
"""

from persia.formats.manifest import Manifest, ManifestFile, check_manifest, read_manifest
from persia.formats.verification import PacketInfo, verify_packet

from .checkpoint import write_checkpoint
from .clock import Clock, SystemClock
from .dumper import IncrementalDumper
from .epoch_committer import EpochCommitter
from .variant_committer import VariantCommitter

__all__ = [
    "Clock",
    "EpochCommitter",
    "IncrementalDumper",
    "Manifest",
    "ManifestFile",
    "PacketInfo",
    "SystemClock",
    "VariantCommitter",
    "check_manifest",
    "read_manifest",
    "verify_packet",
    "write_checkpoint",
]
