"""The example of docs/writers.md, and the manifest of docs/formats/packet.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from persia.formats.sign_files import read_sign_file
from persia.writers import read_manifest, verify_packet
from tests.support.places import ROOT
from tests.support.written import packets_in, read_checkpoint, read_packet

DOCS = ROOT / "docs"


def test_the_example_writes_a_checkpoint_and_a_packet(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "writers.md").read_text(), re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    assert len(read_checkpoint(tmp_path / "checkpoint")) == 1200
    (packet,) = packets_in(tmp_path / "incremental_dir" / "s0")
    assert verify_packet(packet).complete and len(read_packet(packet)) == 101
    assert [len(read_sign_file(packet / name).signs) for name in ("0_0.del", "0_0.ttl")] == [2, 1]


def test_the_manifest_of_the_document_is_one(tmp_path: Path) -> None:
    text = (DOCS / "formats" / "packet.md").read_text().split("## Manifest\n")[1].split("\n## ")[0]
    lines = [re.sub(r"\s{4,}\S.*", "", line.strip()) for line in text.splitlines() if line.startswith("    ")]
    (tmp_path / "manifest.json").write_text("\n".join(lines))
    manifest = read_manifest(tmp_path / "manifest.json")
    assert (manifest.sequence, manifest.files[0].bytes) == (41, 48)
