"""The ready line, found in logs of both forms."""

from __future__ import annotations

import logging

import pytest

from persia.cli.log_lines import JsonLines
from persia.torchserve.ready_line import ReadyLine, find_ready_line

LINE = ReadyLine.of(
    "h:1",
    "h:2",
    http_port=3,
    http_management_port=4,
    token_file='/a "b"/key_file.json',
    logs="stderr",
    health="h:5",
    models=["ctr 1.0"],
)


@pytest.mark.parametrize("form", [JsonLines(), logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")])
def test_it_is_found_as_it_was_said(form: logging.Formatter) -> None:
    records = [logging.LogRecord("x", logging.INFO, "x.py", 1, text, (), None) for text in ("before", str(LINE), "after")]
    assert find_ready_line("\n".join(map(form.format, records))) == LINE


def test_a_line_that_only_looks_like_json_is_taken_as_it_is() -> None:
    found = find_ready_line("{no ready: inference on h:1, management on h:2")
    assert found is not None and (found.inference, found.management) == ("h:1", "h:2")
    assert find_ready_line("ready") is None
