"""docs/ids.md: its Python runs, and its hash is the same in all of its languages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from persia.signs import hash_string
from tests.support.places import DATA, ROOT

PAGE = (ROOT / "docs" / "ids.md").read_text()
VECTORS: list[list[str]] = json.loads((DATA / "string_hash_vectors.json").read_text())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_the_examples_run(tmp_path: Path, number: int) -> None:
    assert len(blocks("python")) == 4
    subprocess.run([sys.executable, "-W", "error", "-c", blocks("python")[number]], cwd=tmp_path, check=True)


def test_the_vectors_of_the_page() -> None:
    rows = re.findall(r"^\| `(.*?)` \| (\d+) \| (-?\d+) \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 8
    for text, unsigned, signed in rows:
        text = json.loads(text)
        assert [text, unsigned] in VECTORS and hash_string(text) == int(unsigned) == int(signed) % 2**64


def test_javascript(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    (code,) = blocks("js")
    (tmp_path / "vectors.json").write_text(json.dumps(VECTORS))
    read = "JSON.parse(require('fs').readFileSync('vectors.json', 'utf8'))"
    (tmp_path / "hash.js").write_text(f"{code}\nfor (const [text] of {read}) console.log(`${{fingerprint64(text)}}`);\n")
    run = subprocess.run([node, "hash.js"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert run.stdout.split() == [value for _, value in VECTORS]


def test_java(tmp_path: Path) -> None:
    java = shutil.which("java")
    if java is None or shutil.which("javac") is None:
        pytest.skip("needs a JDK, which runs a source file")
    (code,) = blocks("java")
    (tmp_path / "vectors.txt").write_text("\n".join(text.encode().hex() for text, _ in VECTORS))
    main = """
    public static void main(String[] arguments) throws Exception {
        for (String line : java.nio.file.Files.readAllLines(java.nio.file.Path.of("vectors.txt"))) {
            byte[] bytes = line.isEmpty() ? new byte[0] : new java.math.BigInteger("01" + line, 16).toByteArray();
            String text = new String(bytes, bytes.length == 0 ? 0 : 1, Math.max(bytes.length - 1, 0), StandardCharsets.UTF_8);
            System.out.println(Long.toUnsignedString(of(text)));
        }
    }
}
"""
    (tmp_path / "Fingerprint.java").write_text(code.rstrip().removesuffix("}") + main)
    run = subprocess.run([java, "Fingerprint.java"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert run.stdout.split() == [value for _, value in VECTORS]
