"""What `make test` leaves out is whole files, each of them marked, and every area keeps a test of its main way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.places import ROOT, TESTS
from tests.support.whole_ways import MARK, left_out_text, whole_ways

AREAS = [path.parent for path in sorted(TESTS.glob("process/*/__init__.py"))] + [TESTS / "promises"]
# Of each area, the file that goes its main way with real processes, in `make test` as well.
MAIN_WAYS = {
    "checking": "test_check.py",
    "deployment": "test_monitoring.py",
    "embedding_server": "test_embedding_server.py",
    "export": "test_export_refusals.py",
    "factory": "test_handler_factory_files.py",
    "grpc": "test_grpc_streams.py",
    "handlers": "test_persia_handler.py",
    "importers": "test_import_command.py",
    "lookups": "test_infer_ctx.py",
    "model_server": "test_predictions.py",
    "models": "test_dense_refusals.py",
    "planning": "test_plan_process.py",
    "project": "test_servers.py",
    "promises": "test_persia_faults_updates.py",
    "storage": "test_serving_from_a_store.py",
    "torchserve": "test_torchserve_client.py",
    "writers": "test_row_files.py",
}


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_every_area_keeps_its_main_way(area: Path) -> None:
    assert area.name in MAIN_WAYS, f"{Path(__file__).name} names no file of the main way of {area.name}"
    main = area / MAIN_WAYS[area.name]
    assert main.exists()
    assert main not in whole_ways([area])


def test_no_main_way_is_of_an_area_that_is_gone() -> None:
    assert MAIN_WAYS.keys() == {area.name for area in AREAS}


def test_the_mark_is_that_of_a_file() -> None:
    """Where it stood at one test, all tests of its file would be left out."""
    marked = whole_ways([TESTS])
    assert len(marked) > 10
    for path in marked:
        assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
        assert [MARK in ast.unparse(node.value) for node in assigned].count(True) == 1, path
        assert path.read_text().count(MARK) == 1, path


def test_tests_without_processes_are_never_left_out() -> None:
    assert whole_ways([TESTS / "unit"]) == []


def test_a_file_that_is_named_is_wanted() -> None:
    folder = TESTS / "process" / "project"
    demo = folder / "test_demo.py"
    assert whole_ways([folder]) == [demo]
    assert whole_ways([folder, demo]) == []


def test_what_is_left_out_is_named_by_folder() -> None:
    files = [ROOT / "tests" / "process" / name for name in ("models/test_a.py", "models/test_b.py", "project/test_c.py")]
    assert left_out_text(files) == ["  tests/process/models: test_a, test_b", "  tests/process/project: test_c"]
