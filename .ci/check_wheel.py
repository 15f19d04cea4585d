"""Installs a wheel into a throw-away environment, far from the sources, and imports every module of it there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

IMPORT_ALL = """
import importlib, pkgutil, sys
import persia
assert persia.__file__.startswith(sys.prefix), persia.__file__
leaves = {"client", "embedding_server", "handlers", "middleware", "model_server"}
missing = leaves - {module.name for module in pkgutil.iter_modules(persia.__path__)}
assert not missing, f"not in the wheel: {missing}"
names = [module.name for module in pkgutil.walk_packages(persia.__path__, "persia.")]
for name in names:
    if name.endswith(".__main__"):
        continue
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"hdfs_native", "obstore", "opentelemetry", "torch", "torchrec", "ts"}:
            raise
        print(f"{name} needs {error.name}, which is not there: not imported")
print(f"persia {persia.__version__}: {len(names)} modules import from the wheel")
"""


def main(wheel: str) -> None:
    """Raises unless all of it works."""
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = str(Path(scratch, "bin", "python"))
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        options = ["--quiet", f"--constraint={ROOT / 'constraints.txt'}"]
        subprocess.run([*pip, "install", *options, str(Path(wheel).resolve())], check=True, cwd=scratch)
        subprocess.run([*pip, "check"], check=True, cwd=scratch)
        subprocess.run([python, "-I", "-W", "error", "-c", IMPORT_ALL], check=True, cwd=scratch)


if __name__ == "__main__":
    main(*sys.argv[1:])
