"""Writes what an embedding server reads: checkpoints, and packets with their manifest. For trainers; needs no server.

write_checkpoint writes a directory from arrays, an IncrementalDumper packets from what a trainer commits to it, and
verify_packet says whether a packet is what its writer wrote.
"""

from persia.formats.manifest import Manifest, ManifestFile, check_manifest, read_manifest
from persia.formats.verification import PacketInfo, verify_packet

from .checkpoint import write_checkpoint
from .clock import Clock, SystemClock
from .dumper import IncrementalDumper

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
