"""The worked examples of docs/formats are what the decoders read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from persia._core import EmbReader, IncReader, decode_batch, decode_ids
from persia.formats.marker import Marker, read_marker
from persia.formats.sign_files import read_sign_file, write_sign_file
from persia.receipts.kept import MAGIC, encoded
from persia.receipts.receipt import KeptAnswer, decode_kept_scores, parse_receipt
from tests.support.places import ROOT

FORMATS = ROOT / "docs" / "formats"


def example(name: str) -> bytes:
    """The hex digits at the start of the lines of a document's example."""
    section = (FORMATS / name).read_text().split("## Example\n")[1].split("\n## ")[0]
    digits = ""
    for line in section.splitlines():
        if line.startswith("    "):
            for word in line.split():
                if not re.fullmatch("([0-9a-f]{2})+", word):
                    break
                digits += word
    return bytes.fromhex(digits)


def test_byte_batch() -> None:
    (feature,) = decode_batch(example("byte-batch.md")).features
    assert feature.name == "t" and feature.ids.tolist() == [7, 9]
    assert feature.positions.tolist() == [[0, 0], [0, 2], [0, 1]]


def test_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.emb").write_bytes(example("checkpoint.md"))
    ((signs, dims, values, recency),) = EmbReader(tmp_path / "x.emb", recency=True)
    assert signs.tolist() == [7, 8] and dims.tolist() == [1, 1] and values.tolist() == [0.5, 1.5]
    assert recency.tolist() == [2, 0]


def test_marker_of_a_checkpoint(tmp_path: Path) -> None:
    (text,) = re.findall(r"^    (---\\n.*)$", (FORMATS / "checkpoint.md").read_text(), re.MULTILINE)
    data = text.replace(r"\n", "\n").encode()
    (tmp_path / "embedding_dump_done").write_bytes(data)
    marker = Marker(num_shards=2, num_internal_shards=4, seconds=1_700_000_000, nanos=5)
    assert read_marker(tmp_path) == marker and marker.to_bytes() == data


def test_packet(tmp_path: Path) -> None:
    (tmp_path / "x.inc").write_bytes(example("packet.md"))
    reader = IncReader(tmp_path / "x.inc")
    ((signs, _, values, _),) = reader
    assert signs.tolist() == [0x0100000000000007] and np.array_equal(values, [0.5, 1.0])
    assert reader.unix_seconds == 1_700_000_000


def test_sign_files(tmp_path: Path) -> None:
    data = example("sign-files.md")
    (tmp_path / "x.del").write_bytes(data)
    file = read_sign_file(tmp_path / "x.del")
    assert file.signs.tolist() == [0x0100000000000007, 0x0100000000000008] and file.unix_seconds == 1_700_000_000
    write_sign_file(tmp_path / "y.del", file.signs, file.unix_seconds)
    assert (tmp_path / "y.del").read_bytes() == data


def test_id_part() -> None:
    batch = decode_ids(example("id-part.md"))
    (feature,) = batch.features
    assert feature.name == "t" and feature.ids.tolist() == [7, 9]
    assert feature.positions.tolist() == [[0, 0], [0, 2], [0, 1]] and feature.ids_per_sample.tolist() == [3]
    assert batch.encode_ids() == example("id-part.md")


def test_weights_in_an_id_part() -> None:
    page = (FORMATS / "id-part.md").read_text()
    begin, end = re.findall(r"it begins with `([0-9a-f ]+)`, and ends with `([0-9a-f ]+)`", page)[0]
    data = bytes.fromhex(begin) + example("id-part.md")[4:] + bytes.fromhex(end)
    (feature,) = decode_ids(data).features
    assert feature.weights is not None and feature.weights.tolist() == [0.5, 2, 1]
    assert feature.ids.tolist() == [7, 9] and decode_ids(data).encode_ids() == data


def test_a_receipt_and_the_file_that_keeps_it() -> None:
    section = (FORMATS / "receipt.md").read_text().split("## Example\n")[1]
    text = "".join(re.findall(r"^ {4,5}(.*\".*)$", section, re.MULTILINE)).encode() + b"\n"
    receipt = parse_receipt(text, "receipt.md")
    assert receipt.to_bytes() == text and f" {len(text)} bytes" in section
    assert decode_kept_scores(receipt.scores_format, receipt.scores).tolist() == [0.5]
    whole = MAGIC + encoded(KeptAnswer(receipt, b"\0"))
    head = example("receipt.md")
    assert len(head) == 20 and whole.startswith(head)
    assert receipt.batch_sha256 == hashlib.sha256(b"\0").hexdigest()


def test_documents_are_short() -> None:
    documents = sorted(FORMATS.glob("*.md"))
    assert documents and all(len(path.read_text().splitlines()) <= 100 for path in documents)
