"""Dense models come and go on a running TorchServe."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from persia.client.infer_command import infer
from persia.client.predict import Client
from persia.client.swap import put_into_store, swap
from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, Unavailable
from persia.torchserve.management import Management
from persia.torchserve.tokens import Tokens
from tests.support.load import Load
from tests.support.managing import broken_archive, manage, versions
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import TorchServeRun, make_archive


@pytest.fixture(scope="module")
def management(torchserve: TorchServeRun) -> Management:
    return torchserve.management()


def test_a_model_is_registered_scaled_and_unregistered_by_commands(
    torchserve: TorchServeRun, store: Path, tmp_path: Path
) -> None:
    archive = make_archive(tmp_path, "by_hand")
    run = manage(torchserve, "register", str(tmp_path / archive), "--model-store", str(store))
    assert run.stdout == "by_hand 1.0: registered with 1 workers, the default\n"
    run = manage(torchserve, "register", make_archive(store, "by_hand", "2.0"))
    assert run.stdout == "by_hand 2.0: registered with 1 workers, not the default (see set-default, swap)\n"
    assert manage(torchserve, "scale", "by_hand", "2").stdout == "by_hand 1.0: 2 workers\n"
    assert manage(torchserve, "set-default", "by_hand", "2.0").exit_code == 0
    listed = [line.split() for line in manage(torchserve, "list").stdout.splitlines() if line.startswith("by_hand")]
    assert listed == [
        ["by_hand", "2.0", "default", "1", "1", "by_hand-2.0.mar"],
        ["by_hand", "1.0", "2", "2", "by_hand-1.0.mar"],
    ]
    described = manage(torchserve, "describe", "by_hand", "--version", "1.0").stdout
    assert described.count("READY, process") == 2
    models = json.loads(manage(torchserve, "describe", "by_hand", "--json").stdout)
    assert [(model["version"], model["ready"]) for model in models] == [("2.0", 1), ("1.0", 2)]
    assert manage(torchserve, "unregister", "by_hand", "--version", "1.0").stdout == "by_hand 1.0: unregistered\n"
    assert manage(torchserve, "unregister", "by_hand").exit_code == 0
    assert "by_hand" not in manage(torchserve, "list").stdout


MISTAKES: list[tuple[list[str], str]] = [
    (["register", "probe-1.0.mar"], "most likely this version of the model is registered already"),
    (["register", "probe-1.0.mar"], "has left it: persia-launcher manage unregister probe --version 1.0"),
    (["register", "nowhere.mar"], "Model not found at: nowhere.mar"),
    (["register", "/somewhere/probe-1.0.mar"], "expected the name of a file in the model store"),
    (["unregister", "nowhere"], "Model not found: nowhere"),
    (["unregister", "probe", "--version", "7"], "version: 7 does not exist"),
    (["describe", "nowhere"], "Model not found: nowhere"),
    (["describe", "probe", "--version", "7"], "version: 7 does not exist"),
    (["scale", "nowhere", "2"], "Model not found: nowhere"),
    (["scale", "probe", "0"], "0 is not in the range"),
    (["scale", "probe", "1", "--wait", "nan"], "'--wait': expected a number of seconds, got nan"),
    (["scale", "probe", "1", "--wait", "inf"], "'--wait': inf is not in the range"),
    (["set-default", "probe", "7"], "version: 7 does not exist"),
    (["swap", "nowhere", "probe-1.0.mar"], "Model not found: nowhere"),
    (["swap", "probe", "nowhere.mar"], "Model not found at: nowhere.mar"),
    (["swap", "probe", "probe-1.0.mar"], "most likely this version of the model is registered already"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: "-".join(value) if type(value) is list else "")
def test_a_mistake_is_one_clear_line(
    torchserve: TorchServeRun, management: Management, arguments: list[str], message: str
) -> None:
    before = management.list()
    run = manage(torchserve, *arguments)
    assert run.exit_code != 0 and message in run.stderr.splitlines()[-1]
    assert management.list() == before


def test_torchserve_fetches_nothing_from_elsewhere(management: Management, tmp_path: Path) -> None:
    """Nor with the token: what an archive brings is run."""
    archive = tmp_path / make_archive(tmp_path, "foreign")
    for url in (f"file://{archive}", "http://127.0.0.1:1/foreign-1.0.mar"):
        with pytest.raises(PersiaError, match="does not match any allowed URL"):
            management._call("RegisterModel", url=url)


@pytest.mark.parametrize("service", [None, "inference"])
def test_nobody_registers_without_the_management_token(torchserve: TorchServeRun, store: Path, service: str | None) -> None:
    token = json.loads(torchserve.token_file.read_text())[service]["key"] if service else None
    archive = make_archive(store, "stranger")
    refused = pytest.raises(AccessDenied, match="refused the token, or was sent none")
    with Management(torchserve.management_address, Tokens(token), PATIENCE) as stranger:
        with refused:
            stranger.register(archive)
        with refused:
            stranger._call("RegisterModel", url=archive, initial_workers=1)  # what TorchServe itself says to it
    assert versions(torchserve.management(), "stranger") == []


def test_a_version_answers_who_names_it(torchserve: TorchServeRun, management: Management, store: Path) -> None:
    for version in ("1.0", "2.0"):
        management.register(make_archive(store, "named", version))
    for asked, answering in ((None, 1.0), ("1.0", 1.0), ("2.0", 2.0)):
        with torchserve.client("named", version=asked) as client:
            assert client.predict(b"").tolist() == [answering]
        options = ["--model-name", "named", "--address", torchserve.address, "--token-file", str(torchserve.token_file)]
        options += ["--version", asked] if asked else []
        run = CliRunner().invoke(infer, [*options, "--batch-size", "1"])
        assert (run.exit_code, run.stdout) == (0, f"{answering:g}\n")
    management.unregister("named", "2.0")
    management.unregister("named")


def test_the_port_of_the_other_service_is_told_apart(torchserve: TorchServeRun) -> None:
    tokens = Tokens(file=torchserve.token_file)
    refused = pytest.raises(InvalidInput, match="inference and management have a port each")
    with Management(torchserve.address, tokens, PATIENCE) as management, refused:
        management.list()
    client = Client("probe", torchserve.management_address, token_file=str(torchserve.token_file), timeout=PATIENCE)
    with client, refused:
        client.predict(b"x")


def test_the_default_stays_while_there_are_others(management: Management, store: Path) -> None:
    management.register(make_archive(store, "pair"))
    management.register(make_archive(store, "pair", "2.0"))
    with pytest.raises(PersiaError, match=r"pair 1\.0 is the default: make another of 1\.0, 2\.0 the default first"):
        management.unregister("pair", "1.0")
    with pytest.raises(PersiaError, match=r"versions 1\.0, 2\.0: say which one"):
        management.unregister("pair")
    management.unregister("pair", "2.0")
    management.unregister("pair")
    assert versions(management, "pair") == []


def test_an_archive_that_cannot_load_leaves_nothing_behind(management: Management, store: Path) -> None:
    """TorchServe itself would keep it, without workers, and refuse to register it again."""
    archive = broken_archive(store, "mended")
    for _ in range(2):
        with pytest.raises(PersiaError, match=r"mended-1\.0\.mar: Failed to start workers .*model_log\.log"):
            management.register(archive)
        assert versions(management, "mended") == []
    assert management.register(make_archive(store, "mended")).all_ready
    management.unregister("mended")


def test_a_registration_that_failed_at_other_hands_is_taken_over(management: Management, store: Path) -> None:
    archive = broken_archive(store, "zombie")

    def left_behind() -> bool:
        """Registered, without workers: as TorchServe mostly leaves it."""
        with pytest.raises(PersiaError, match="Failed to start workers"):
            management._call("RegisterModel", PATIENCE, url=archive, initial_workers=1, synchronous=True)
        return versions(management, "zombie") == [("1.0", True)]

    wait_until(left_behind, "a registration is left behind")
    assert management.register(make_archive(store, "zombie")).all_ready
    management.unregister("zombie")


def test_a_registration_that_takes_too_long_is_taken_back(management: Management, store: Path) -> None:
    archive = make_archive(store, "slow", handler="never_loads", persia={"note": str(store / "slow")})
    with pytest.raises((DeadlineExceeded, PersiaError)):
        management.register(archive, timeout=0.1)
    assert versions(management, "slow") == []


def test_a_registration_that_is_given_up_while_its_archive_is_unpacked_is_taken_back(
    management: Management, store: Path, tmp_path: Path
) -> None:
    heavy = tmp_path / "heavy.bin"
    with heavy.open("wb") as file:
        file.truncate(300 << 20)  # of zeros, which take no room in the archive
    archive = make_archive(store, "heavy", extra=[heavy])
    with pytest.raises(DeadlineExceeded):
        management.register(archive, timeout=0.1)
    # It would be refused if there were one already.
    assert management.register(archive).all_ready
    management.unregister("heavy")


def test_a_model_may_get_another_name(management: Management, store: Path) -> None:
    assert management.register(make_archive(store, "given"), name="chosen").name == "chosen"
    management.unregister("chosen")
    with pytest.raises(NotFound):
        management.describe("chosen")


def test_a_version_without_ready_workers_does_not_become_the_default(management: Management, store: Path) -> None:
    management.register(make_archive(store, "half"))
    management._call("RegisterModel", url=broken_archive(store, "half", "2.0"), initial_workers=1)  # does not wait
    with pytest.raises(PersiaError, match=r"half 2\.0 has 0 of 1 workers READY: not made the default"):
        management.set_default("half", "2.0")
    management.unregister("half", "2.0")
    management.unregister("half")


@contextlib.contextmanager
def load_of(run: TorchServeRun, model: str) -> Iterator[Load[float]]:
    """Calls without a version, each of which takes the handler a while, so that some always wait."""
    with run.client(model) as client, Load(lambda: float(client.predict(b"nap 0.03")[0])) as load:
        load.wait_for_more(10)
        yield load


def test_a_swap_under_load_loses_no_request(torchserve: TorchServeRun, management: Management, store: Path) -> None:
    management.register(make_archive(store, "live"))
    with load_of(torchserve, "live") as load:
        steps: list[str] = []
        new = swap(management, "live", make_archive(store, "live", "2.0"), drain=1.0, report=steps.append)
        count = len(load.answers)
        wait_until(lambda: len(load.answers) > count + 10, "the new version serves alone")
    assert load.failures == []
    assert set(load.answers[:10]) == {1.0} and set(load.answers[-10:]) == {2.0}
    assert (new.version, new.is_default) == ("2.0", False)  # as it was when it was registered
    assert versions(management, "live") == [("2.0", True)]
    assert [step.split(";")[0] for step in steps] == [
        "live 1.0 serves",
        "live 2.0 is READY with 1 workers",
        "live 2.0 is the default",
        "live 1.0 is unregistered",
    ]
    management.unregister("live")


def refuse(_model: object) -> None:
    raise Unavailable("no")


@pytest.mark.parametrize(
    ("make", "check"), [(broken_archive, lambda model: None), (make_archive, refuse)], ids=["cannot load", "fails its check"]
)
def test_a_swap_that_fails_leaves_the_old_version(
    torchserve: TorchServeRun,
    management: Management,
    store: Path,
    make: Callable[[Path, str, str], str],
    check: Callable[[object], None],
) -> None:
    management.register(make_archive(store, "kept"))
    with load_of(torchserve, "kept") as load, pytest.raises(PersiaError):
        swap(management, "kept", make(store, "kept", "2.0"), check=check)
    assert load.failures == [] and set(load.answers) == {1.0}
    assert versions(management, "kept") == [("1.0", True)]
    management.unregister("kept")


def test_a_new_version_that_loses_its_workers_gives_way_to_the_old_one(management: Management, store: Path) -> None:
    management.register(make_archive(store, "back"))

    def kill_the_new(step: str) -> None:
        if step.startswith("back 2.0 is the default"):
            (model,) = management.describe("back", "2.0")
            os.kill(model.workers[0]["pid"], signal.SIGKILL)
            wait_until(lambda: management.describe("back", "2.0")[0].ready == 0, "its worker is gone")

    with pytest.raises(PersiaError, match=r"back 2\.0 lost all its workers \(.*\): 1\.0 is the default again"):
        swap(management, "back", make_archive(store, "back", "2.0"), drain=0, report=kill_the_new)
    assert versions(management, "back") == [("1.0", True)]
    management.unregister("back")


def test_all_models_are_listed_however_many_fit_a_page(torchserve: TorchServeRun, management: Management) -> None:
    all_at_once = [model.name for model in management.list()]
    with Management(torchserve.management_address, Tokens(file=torchserve.token_file), PATIENCE, page=1) as paging:
        assert [model.name for model in paging.list()] == all_at_once
    assert {"golden", "probe", "shapes"} <= set(all_at_once)


def test_a_swap_by_command_tries_the_new_version_first(torchserve: TorchServeRun, store: Path, tmp_path: Path) -> None:
    assert manage(torchserve, "register", make_archive(store, "shop")).exit_code == 0
    smoke = tmp_path / "smoke.bin"
    smoke.write_bytes(b"raise")
    swap_it = ["swap", "shop", make_archive(store, "shop", "2.0"), "--drain", "0.1", "--smoke", str(smoke)]
    swap_it += ["--inference-address", torchserve.address]
    run = manage(torchserve, *swap_it)
    assert run.exit_code == 1 and "the handler failed" in run.stderr
    smoke.write_bytes(b"")
    run = manage(torchserve, *swap_it)
    assert run.stdout.splitlines()[-1] == "shop 2.0: swapped"
    assert manage(torchserve, "unregister", "shop").exit_code == 0


def test_an_archive_in_the_store_is_never_replaced_by_another(tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    archive = make_archive(other, "same")
    store.mkdir()
    assert put_into_store(other / archive, store)
    assert not put_into_store(other / archive, store)
    make_archive(other, "same", handler="shapes")
    with pytest.raises(InvalidInput, match="under a new name"):
        put_into_store(other / archive, store)
    assert [path.name for path in store.iterdir()] == [archive]
