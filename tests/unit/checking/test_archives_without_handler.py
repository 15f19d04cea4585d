"""Archives of models that take tensors, and bring no handler."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from persia.checking.archives import check_archive
from persia.checking.report import Report


def test_an_archive_without_a_handler_is_one_of_tensors(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelName": "m", "serializedFile": "m.pt"}}))
        archive.writestr("m.pt", b"a model")
    report = Report()
    contents = check_archive(report, path, None, None, None)
    assert contents is not None and contents.handler == ""
    assert [(finding.state, finding.text.partition(":")[0]) for finding in report.findings] == [
        ("ok", "m 1.0, handler none, 0.0 MiB"),
        ("warn", "it has no handler"),
    ]
