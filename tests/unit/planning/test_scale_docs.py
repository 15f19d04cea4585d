"""docs/scale.md: the plan that it shows is the one that the command prints."""

from __future__ import annotations

import re
import shlex

from click.testing import CliRunner

from persia.launcher import main
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text()


def test_the_plan_that_is_shown_is_the_one_that_is_printed() -> None:
    (command,) = re.findall(r"^ {4}persia-launcher (plan .+)$", PAGE.partition("```text")[0], re.MULTILINE)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[:1]
    result = CliRunner().invoke(main, shlex.split(command))
    assert result.exit_code == 0 and result.output == shown


def test_every_option_is_described() -> None:
    (options,) = re.findall(r"## What it wants to know\n(.*?)\n## ", PAGE, re.DOTALL)
    command = main.commands.get("plan") or main.get_command(None, "plan")  # type: ignore[arg-type]
    assert command is not None
    flags = {option for parameter in command.params for option in parameter.opts} - {"--json"}
    assert flags == set(re.findall(r"`(--[a-z-]+)", options.partition("Each server is planned")[0]))
