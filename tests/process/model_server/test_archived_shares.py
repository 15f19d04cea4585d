"""What an archive says of the requests that its version takes: trafficPercent, stickyBy, shadowShare."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.model_servers import HANDLERS, Answer, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until

SHARES = {
    "1.0": None,
    "2.0": "trafficPercent: 25\nstickyBy: X-User\n",
    "3.0": "shadowShare: 1\n",
    "4.0": "trafficPercent: 80\n",
}
USERS = [f"user {number}" for number in range(100)]


def serve(directory: Path) -> ModelServerRun:
    return ModelServerRun(directory, directory / "store", "--enable-model-api", "--state", str(directory / "state"))


def register(server: ModelServerRun, version: str) -> Answer:
    return ask(server.management(f"models?url=shared-{version}.mar&initial_workers=1&synchronous=true"), b"", "POST")


def traffic(server: ModelServerRun) -> Any:
    return ask(server.management("models/shared/traffic")).json


def versions(server: ModelServerRun, users: Iterable[str]) -> dict[str, str]:
    """By which version each user is answered."""
    url = server.inference("predictions/shared")
    return {user: ask(url, b"version", headers={"X-User": user}).body.decode() for user in users}


def test_a_version_takes_the_share_that_its_archive_says_once(tmp_path: Path) -> None:
    for version, config in SHARES.items():
        make_mar(tmp_path / "store", "shared", version, HANDLERS / "inner.py", config)
    with serve(tmp_path) as server:
        for version in ("1.0", "2.0", "3.0"):
            assert register(server, version).status == 200
        dealt = {"weights": {"1.0": 3, "2.0": 1}, "sticky_by": "x-user", "shadow": "3.0", "shadow_share": 1.0}
        assert traffic(server) == dealt

        refused = register(server, "4.0")
        assert refused.status == 400 and "expected at least 80 % of the requests" in refused.json["message"]
        assert traffic(server) == dealt and ask(server.management("models/shared/4.0")).status == 404

        chosen = versions(server, USERS)
        counts = collections.Counter(chosen.values())
        assert set(counts) == {"1.0", "2.0"} and 5 <= counts["2.0"] <= 60
        assert versions(server, USERS[:10]) == {user: chosen[user] for user in USERS[:10]}
        notes = tmp_path / "notes"

        def copied() -> bool:
            """Asks each time, because a candidate whose queue is still full of copies gets no more."""
            ask(server.inference("predictions/shared"), f"note {notes}".encode(), headers={"X-User": USERS[0]})
            return set(notes.read_text().split()) == {chosen[USERS[0]], "3.0"}

        wait_until(copied, "the candidate has got a copy")
        server.process.kill()
        server.process.wait(PATIENCE)

    with serve(tmp_path) as server:  # its versions come again, and take nothing a second time
        server.wait_ready()
        assert traffic(server) == dealt
        assert versions(server, USERS) == chosen
        assert ask(server.management("models/shared/traffic"), None, "DELETE").status == 200
        assert register(server, "4.0").status == 200  # which would not have its share beside that of 2.0
        changed = ask(server.management("models/shared/traffic?weights=1.0:1,3.0:1"), None, "PUT")
        assert changed.status == 200
        server.process.kill()
        server.process.wait(PATIENCE)

    with serve(tmp_path) as server:  # what was changed since goes before what the archives say
        server.wait_ready()
        assert traffic(server) == changed.json
        assert ask(server.management("models/shared/4.0")).status == 200
