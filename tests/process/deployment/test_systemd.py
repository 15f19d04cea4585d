"""The units in deploy/systemd: systemd understands them, and the launcher what they start."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from persia.launcher import main
from persia.serving.process import DRAIN_SECONDS as SERVERS_DRAIN_SECONDS
from persia.torchserve.run.command import DRAIN_SECONDS, torchserve
from tests.support.places import ROOT
from tests.support.stacks import LAUNCHER

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
INSTALLED = "/opt/persia/bin/persia-launcher"


def instance(unit: Path) -> str:
    """A template cannot be started as it is."""
    return unit.name.replace("@.", "@0.")


def setting(unit: Path, key: str) -> str:
    (value,) = re.findall(rf"^{key}=((?:.*\\\n)*.*)$", unit.read_text(), re.MULTILINE)
    return str(value).replace("\\\n", " ")


def command_line(unit: Path) -> list[str]:
    return shlex.split(setting(unit, "ExecStart"))


def test_there_is_a_unit_for_each_process_and_one_for_all() -> None:
    assert [unit.stem for unit in UNITS] == [
        "persia-embedding-server@",
        "persia-middleware",
        "persia-model-server",
        "persia-torchserve",
        "persia-up",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_it(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    assert program is not None, "expected systemd-analyze, which the package systemd brings (apt-get install systemd)"
    (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(LAUNCHER)))
    run = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / instance(unit))],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_launcher_knows_what_it_starts(unit: Path) -> None:
    program, name, *arguments = command_line(unit)
    assert program == INSTALLED
    command = main.get_command(click.Context(main), name)
    assert command is not None
    parts = {command: arguments}
    if "--" in arguments:
        at = arguments.index("--")
        parts = {command: arguments[:at], torchserve: arguments[at + 1 :]}
    for part, given in parts.items():
        options = {option for parameter in part.params for option in parameter.opts}
        assert [argument for argument in given if argument.startswith("--") and argument not in options] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_variable_that_it_uses_is_in_a_file_of_its_own(unit: Path) -> None:
    files = re.findall(r"^EnvironmentFile=/etc/persia/(.+)$", unit.read_text(), re.MULTILINE)
    texts = [(unit.parent / file.replace("@%i", "@")).read_text() for file in files]
    known = {name for text in texts for name in re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)}
    assert set(re.findall(r"\$\{(\w+)\}", unit.read_text())) <= known


def test_nobody_is_killed_who_still_drains() -> None:
    seconds = {unit.stem: int(setting(unit, "TimeoutStopSec")) for unit in UNITS}
    assert seconds["persia-torchserve"] > DRAIN_SECONDS + 5 + 5
    assert seconds["persia-up"] > DRAIN_SECONDS + 15 + 15 + 15
    assert seconds["persia-model-server"] > 4 * SERVERS_DRAIN_SECONDS
    assert min(seconds.values()) > 10
    for unit in UNITS[2:]:
        assert setting(unit, "KillMode") == "mixed"
