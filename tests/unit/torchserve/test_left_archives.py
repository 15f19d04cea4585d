"""What `manage` says of an archive that a call which failed has left in the store."""

from __future__ import annotations

from click.testing import CliRunner

from persia.client.manage_command import manage


def test_nobody_is_told_to_remove_what_may_serve() -> None:
    run = CliRunner().invoke(manage, ["--address", "127.0.0.1:1", "--timeout", "0.2", "swap", "ctr", "ctr-2.0.mar"])
    assert run.exit_code == 1
    assert "whether ctr-2.0.mar serves is not known: look, with `manage list`, before you remove it" in run.output
