"""A swap keeps the number of workers, and leaves nothing behind when it fails or is cut off."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from persia.client.manage_command import manage as manage_command
from persia.client.swap import swap
from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.torchserve.management import Management
from persia.torchserve.model import Model
from tests.support.managing import broken_archive, manage, options, versions
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import LAUNCHER, TorchServeRun, make_archive


@pytest.fixture(scope="module")
def management(torchserve: TorchServeRun) -> Management:
    return torchserve.management()


def test_a_model_keeps_its_number_of_workers(management: Management, store: Path) -> None:
    """Although the archive says minWorkers: 1, which goes before what RegisterModel is asked for."""
    management.register(make_archive(store, "wide"))
    management.scale("wide", 2)
    checked: list[int] = []
    at_the_change: list[Model] = []

    def check(model: Model) -> None:
        checked.append(model.ready)

    def look(step: str) -> None:
        if step.startswith("wide 2.0 is the default"):
            at_the_change.append(management.default("wide"))

    new = swap(management, "wide", make_archive(store, "wide", "2.0"), drain=0, check=check, report=look)
    assert checked == [2] and new.ready == 2
    ((version, ready),) = [(model.version, model.ready) for model in at_the_change]
    assert (version, ready) == ("2.0", 2)
    assert versions(management, "wide") == [("2.0", True)]
    management.unregister("wide")


LEFT = "from the model store, or a new start with all models makes it the default if it is the newest"


@pytest.fixture
def smoke(torchserve: TorchServeRun, tmp_path: Path) -> list[str]:
    """Options of a swap whose new version fails its check."""
    path = tmp_path / "smoke.bin"
    path.write_bytes(b"raise")
    return ["--smoke", str(path), "--inference-address", torchserve.address]


def test_a_swap_that_fails_takes_its_copy_out_of_the_store(
    torchserve: TorchServeRun, management: Management, store: Path, tmp_path: Path, smoke: list[str]
) -> None:
    management.register(make_archive(store, "copied"))
    archive = make_archive(tmp_path, "copied", "2.0")
    run = manage(torchserve, "swap", "copied", str(tmp_path / archive), "--model-store", str(store), *smoke)
    assert run.exit_code == 1 and "model_log.log" in run.stderr and LEFT not in run.stderr
    assert not (store / archive).exists() and (store / "copied-1.0.mar").exists()
    assert versions(management, "copied") == [("1.0", True)]
    management.unregister("copied")


def test_what_was_in_the_store_before_a_swap_that_fails_is_named(
    torchserve: TorchServeRun, management: Management, store: Path, tmp_path: Path, smoke: list[str]
) -> None:
    management.register(make_archive(store, "stays"))
    archive = make_archive(tmp_path, "stays", "2.0")
    (store / archive).write_bytes((tmp_path / archive).read_bytes())
    for arguments in ([archive], [str(tmp_path / archive), "--model-store", str(store)]):
        run = manage(torchserve, "swap", "stays", *arguments, *smoke)
        assert run.exit_code == 1 and f"remove {archive} {LEFT}" in run.stderr.splitlines()[-1]
        assert (store / archive).exists()
    management.unregister("stays")


def test_a_registration_that_fails_takes_its_copy_out_of_the_store(
    torchserve: TorchServeRun, store: Path, tmp_path: Path
) -> None:
    archive = broken_archive(tmp_path, "never")
    run = manage(torchserve, "register", str(tmp_path / archive), "--model-store", str(store))
    assert run.exit_code == 1 and LEFT not in run.stderr and not (store / archive).exists()
    run = manage(torchserve, "register", broken_archive(store, "never"))
    assert run.exit_code == 1 and f"remove {archive} {LEFT}" in run.stderr


def test_a_swap_waits_as_long_as_it_is_told(
    torchserve: TorchServeRun, management: Management, store: Path, tmp_path: Path
) -> None:
    management.register(make_archive(store, "patient"))
    archive = make_archive(store, "patient", "2.0", "never_loads", persia={"note": str(tmp_path / "started")})
    arguments = [*options(torchserve), "swap", "patient", archive, "--wait", "0.5"]
    with pytest.raises(click.ClickException, match=f"no answer within the deadline .*; remove {archive} {LEFT}") as caught:
        manage_command.main(arguments, standalone_mode=False)
    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert versions(management, "patient") == [("1.0", True)]
    management.unregister("patient")


Interrupt = tuple[signal.Signals, int, str]
# What ends a command, the exit code, the last line.
CTRL_C: Interrupt = (signal.SIGINT, 1, "Aborted!")
SIGTERM: Interrupt = (signal.SIGTERM, 143, "Terminated!")


def interrupted(
    run: TorchServeRun, arguments: list[str], moment: Callable[[Path], bool], directory: Path, interrupt: Interrupt
) -> str:
    """What `persia-launcher manage` has said, in a process of its own that is interrupted when the moment has come."""
    number, code, last = interrupt
    said = directory / "said"
    with said.open("wb") as file:
        process = subprocess.Popen([LAUNCHER, "manage", *options(run), *arguments], stdout=file, stderr=file)
    try:
        wait_until(lambda: moment(said), "the moment to interrupt it")
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
    finally:
        process.kill()
        process.wait()
    assert said.read_text().splitlines()[-1] == last
    return said.read_text()


@pytest.mark.parametrize(("command", "interrupt"), [("register", SIGTERM), ("swap", CTRL_C)], ids=["register", "swap"])
def test_an_interrupt_while_a_version_loads_leaves_nothing_behind(
    torchserve: TorchServeRun, management: Management, store: Path, tmp_path: Path, command: str, interrupt: Interrupt
) -> None:
    note = tmp_path / "started"
    management.register(make_archive(store, "cut"))
    archive = make_archive(tmp_path, "cut", "2.0", "never_loads", persia={"note": str(note)})
    arguments = [command, *(["cut"] if command == "swap" else []), str(tmp_path / archive), "--model-store", str(store)]
    interrupted(torchserve, arguments, lambda said: note.exists(), tmp_path, interrupt)
    assert versions(management, "cut") == [("1.0", True)]
    assert not (store / archive).exists()
    management.unregister("cut")


def test_an_interrupt_while_the_old_version_drains_says_what_is_left(
    torchserve: TorchServeRun, management: Management, store: Path, tmp_path: Path
) -> None:
    management.register(make_archive(store, "drained"))
    archive = make_archive(tmp_path, "drained", "2.0")
    arguments = ["swap", "drained", str(tmp_path / archive), "--model-store", str(store), "--drain", str(2 * PATIENCE)]
    said = interrupted(torchserve, arguments, lambda said: "2.0 is the default" in said.read_text(), tmp_path, SIGTERM)
    assert "drained 1.0 is left: persia-launcher manage unregister drained --version 1.0" in said
    assert versions(management, "drained") == [("2.0", True), ("1.0", False)]
    assert (store / archive).exists()
    management.unregister("drained", "1.0")
    management.unregister("drained")


def test_another_store_than_torchserves_own_is_refused(torchserve: TorchServeRun, tmp_path: Path) -> None:
    """In its own there may be another archive of that name."""
    other = tmp_path / "other"
    other.mkdir()
    archive = make_archive(tmp_path, "elsewhere")
    run = manage(torchserve, "register", str(tmp_path / archive), "--model-store", str(other))
    assert run.exit_code == 1 and "Error: expected TorchServe's own model store, /" in run.stderr
    assert list(other.iterdir()) == []


def test_a_swap_that_another_one_overtakes_says_so_and_leaves_what_serves(management: Management, store: Path) -> None:
    management.register(make_archive(store, "raced"))
    said: list[str] = []

    def overtake(step: str) -> None:
        said.append(step)
        if step.startswith("raced 2.0 is the default"):
            management.set_default("raced", "1.0")  # somebody goes back

    with pytest.raises(PersiaError, match=r"raced 1\.0 has become the default meanwhile; 2\.0 stays"):
        swap(management, "raced", make_archive(store, "raced", "2.0"), drain=0, report=overtake)
    assert said[-1].startswith("raced 2.0 is the default")  # no advice to unregister what serves
    assert versions(management, "raced") == [("1.0", True), ("2.0", False)]
    management.unregister("raced", "2.0")
    management.unregister("raced")


ENDED_TWICE = """
import os, signal
from persia.cli.failures import ending_unwinds

number = signal.{name}
signal.signal(number, signal.{before})
with ending_unwinds():
    try:
        os.kill(os.getpid(), number)
        print("went on")
    finally:
        os.kill(os.getpid(), number)
        print("cleaned up")
"""


@pytest.mark.parametrize(
    ("name", "before", "outcome"),
    [
        ("SIGTERM", "SIG_DFL", (143, "cleaned up\n", "Terminated!\n")),
        ("SIGHUP", "SIG_DFL", (129, "cleaned up\n", "Hangup!\n")),
        ("SIGHUP", "SIG_IGN", (0, "went on\ncleaned up\n", "")),  # as under nohup
    ],
)
def test_a_second_signal_does_not_cut_the_cleaning_short(name: str, before: str, outcome: tuple[int, str, str]) -> None:
    program = ENDED_TWICE.format(name=name, before=before)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (run.returncode, run.stdout, run.stderr) == outcome


def test_sigterm_means_what_it_did_once_a_command_is_over(torchserve: TorchServeRun, store: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert manage(torchserve, "register", make_archive(store, "over")).exit_code == 0
    assert manage(torchserve, "register", "nowhere.mar").exit_code == 1
    assert signal.getsignal(signal.SIGTERM) is before
    assert manage(torchserve, "unregister", "over").exit_code == 0


def test_of_two_who_register_the_same_one_has_it(management: Management, store: Path) -> None:
    """The other one must not take away what is not its own."""
    archive = make_archive(store, "twin")

    def register() -> Model | PersiaError:
        try:
            return management.register(archive)
        except PersiaError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(register) for _ in range(2)]]
    (model,) = [outcome for outcome in outcomes if isinstance(outcome, Model)]
    (error,) = [outcome for outcome in outcomes if isinstance(outcome, PersiaError)]
    assert model.all_ready
    assert "registered already" in str(error)
    assert versions(management, "twin") == [("1.0", True)]
    management.unregister("twin")


def test_nothing_is_copied_for_a_torchserve_that_is_not_there(store: Path, tmp_path: Path) -> None:
    archive = tmp_path / make_archive(tmp_path, "nobody")
    arguments = ["--address", "127.0.0.1:1", "register", str(archive), "--model-store", str(store)]
    run = CliRunner().invoke(manage_command, arguments)
    assert (run.exit_code, (store / archive.name).exists()) == (1, False)
    assert "Error: failed to connect" in run.stderr
    assert "remove" not in run.stderr


def test_a_swap_that_cannot_remove_the_old_version_says_so(
    management: Management, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    management.register(make_archive(store, "stays"))
    said: list[str] = []

    def unregister(name: str, version: str | None = None) -> None:
        raise Unavailable("cut off")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(management, "unregister", unregister)
        swap(management, "stays", make_archive(store, "stays", "2.0"), drain=0, report=said.append)
    assert said[-1] == "stays 1.0 is left: persia-launcher manage unregister stays --version 1.0"
    assert versions(management, "stays") == [("2.0", True), ("1.0", False)]
    management.unregister("stays", "1.0")
    management.unregister("stays")
