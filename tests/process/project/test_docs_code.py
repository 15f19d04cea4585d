"""The code in the documents: who runs each Python block, what imports it makes, and whether commands have such options.

A block or a command that no test runs stands here with the reason.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import click
import pytest

from persia.launcher import main
from tests.support.places import ROOT, TESTS

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

# Whoever runs all Python blocks of a page.
RUN_BY = {
    "README.md": "test_readme.py",
    "docs/bert-in-production.md": "test_split.py",
    "docs/coming-from-torchrec.md": "test_torchrec.py",
    "docs/dense-half.md": "test_dense_half_docs.py",
    "docs/dense-models.md": "dense_models.py",
    "docs/handler-factory.md": "test_handler_factory.py",
    "docs/http-json.md": "test_http_json.py",
    "docs/ids.md": "test_ids_docs.py",
    "docs/model-authors.md": "test_model_authors_docs.py",
    "docs/moving-from-torchserve.md": "test_peer_cases.py",
    "docs/storage.md": "test_storage_docs.py",
    "docs/writers.md": "test_writer_docs.py",
}
# The others, by a word of theirs.
NOT_RUN = {
    ("docs/epochs.md", "EpochCommitter"): "names arrays and a directory; test_epochs.py commits packets",
    ("docs/epochs.md", "dense="): "goes on from the block before; test_dense_switch.py commits versions",
    ("docs/variants.md", "VariantCommitter"): "names arrays and a directory; test_variants.py commits packets",
    ("docs/variants.md", "dense="): "goes on from the block before; test_variants.py commits versions",
    ("docs/variants.md", "get_embedding_from_bytes"): "needs a deployment; test_variants.py looks up so",
    ("docs/epochs.md", "min_epoch"): "needs a deployment; test_one_epoch_per_answer.py looks up so",
    ("docs/from-ray.md", "class Features"): "needs Ray; test_rollout.py looks up so",
    ("docs/from-ray.md", "class Scores"): "needs Ray; test_torchserve_client.py asks so",
    ("docs/handler.md", "details.model_version"): "names attributes; test_http_json.py and test_feature_misses.py read them",
    ("docs/handler.md", "class Calibrated"): "a subclass as in test_custom_handler.py, which serves one",
    ("docs/model-server.md", "predictions_call"): "needs a server with keys; test_tokens.py asks one so",
    ("docs/open-inference.md", "class Doubling"): "test_inference_clients.py has a model server serve it",
    ("docs/open-inference.md", "tags.offsets"): "needs a deployment; test_persia_tensors.py sends such tensors to one",
    ("docs/open-inference.md", 'triton.InferInput("x"'): "test_inference_clients.py runs it with the address of its server",
    ("docs/replay.md", "predict_kept"): "needs a deployment; test_kept_answers.py keeps answers so on both homes",
    ("docs/security.md", "GrpcioSecurity"): "has a name for a server; test_grpcio_security.py makes such channels",
    ("docs/security.md", "with Client"): "has a name for a server; test_tls.py asks a model server with such a section",
    ("docs/torchserve.md", "with Client"): "the README's, which test_readme.py runs",
    (
        "docs/transformers.md",
        "requests.post",
    ): "needs a real model; test_text_real_model.py asks one where it is installed",
    ("docs/transformers.md", "class Handler"): "test_text_requests.py runs it as a handler",
    ("docs/transformers.md", "TextModel.load"): "test_text_requests.py runs it with a model of its own",
}
# Programs of others. What is ours is tried below.
OTHER_PROGRAMS = {
    "PYTHONPATH=.:tests": "a benchmark, whose figures are for people",
    "apt-get": "changes the machine",
    "base/build.sh": "test_handler_factory.py runs it",
    "bentoml": "make homes-test",
    "curl": "the tests ask the same addresses with urllib",
    "cp": "test_restore.py runs it",
    "docker": "make container-test builds with buildah",
    "export": "a variable of the reader's shell",
    "grpc_health_probe": "not installed; test_grpc_health.py speaks its protocol",
    "grpcurl": "not installed; test_grpc_health.py asks for health",
    "gunicorn": "make homes-test",
    "helm": "test_chart.py and test_rollout.py render the same chart",
    "if": "test_restore.py runs it",
    "install": "changes the machine; test_systemd.py checks the units",
    "kubectl": "needs a cluster; test_rollout.py tries the options of what is planned",
    "mkdir": "the reader's own directories",
    "mv": "the reader's own directories",
    "pip": "needs a package index; .ci/check_wheel.py tries what is installed",
    "printf": "writes the reader's own file",
    "python": "scripts; those of client/ are the commands below",
    "python3": "changes the machine",
    "systemctl": "changes the machine; test_systemd.py checks the units",
    "tar": "test_handler_factory.py packs the same files",
    "torch-model-archiver": "test_transformers_handler.py and test_handler_factory.py pack with it",
    "torchserve": "the wrapper of TorchServe, which our launcher takes the place of",
    "umask": "changes the machine",
    "useradd": "changes the machine",
    "uvicorn": "make homes-test",
}
OURS = {"persia-launcher", "manage", "make"}


class Command(NamedTuple):
    page: str
    program: str
    words: list[str]


def python_blocks() -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for language, code in FENCE.findall(text):
            if language == "python":
                yield page, code


def commands() -> Iterator[Command]:
    """Lines of sh blocks, and indented lines that begin with a program that is known here."""
    for page, text in PAGES.items():
        text = text.replace("\\\n", " ")
        lines = [(line, True) for language, code in FENCE.findall(text) if language == "sh" for line in code.splitlines()]
        lines += [(line, False) for line in re.findall(r"^ {4,7}(\S.*)$", FENCE.sub("", text), re.MULTILINE)]
        for line, is_shell in lines:
            words = re.sub(r"^((?!PYTHONPATH)[A-Z_]+=\S+ |sudo )+", "", re.sub(r"\s# .*", "", line)).split()
            if words and (words[0] in OURS or words[0] in OTHER_PROGRAMS or (is_shell and re.match(r"[a-z]", line))):
                yield Command(page, words[0], words[1:])


def test_every_python_block_is_run_or_says_why_not() -> None:
    files = {path.name: path for path in TESTS.rglob("*.py")}
    for page, test in RUN_BY.items():
        assert page.rpartition("/")[2] in files[test].read_text(), f"{test} does not name {page}"
    unknown, used = [], set()
    for page, code in python_blocks():
        reasons = [key for key in NOT_RUN if key[0] == page and key[1] in code]
        used.update(reasons)
        if page not in RUN_BY and len(reasons) != 1:
            unknown.append((page, code))
    assert unknown == []
    assert used == set(NOT_RUN)


def test_tests_that_are_named_as_reasons_are_there() -> None:
    files = {path.name for path in TESTS.rglob("*.py")}
    named = {name for reason in [*NOT_RUN.values(), *OTHER_PROGRAMS.values()] for name in re.findall(r"test_\w+\.py", reason)}
    assert named - files == set()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_python_blocks_import_of_ours_is_there() -> None:
    names = [
        (node.module, alias.name)
        for _, code in python_blocks()
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "persia"
        for alias in node.names
        if node.module != "persia.torchrec" or find_spec("torchrec")  # which is installed by itself: `make torchrec`
    ]
    assert len(names) > 20
    assert [(module, name) for module, name in names if not hasattr(import_module(module), name)] == []


def test_every_command_is_tried_or_says_why_not() -> None:
    programs = {command.program for command in commands()}
    assert programs - OURS == set(OTHER_PROGRAMS)


def test_verbs_of_make_are_there() -> None:
    verbs = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for command in commands() if command.program == "make" for word in command.words if "=" not in word}
    named |= {verb for text in PAGES.values() for verb in re.findall(r"`make ([a-z-]+)", text)}
    assert named and named <= verbs


@pytest.mark.parametrize("program", ["persia-launcher", "manage"])
def test_our_commands_have_the_options_that_documents_give_them(program: str) -> None:
    found = [command for command in commands() if command.program == program]
    assert found
    for page, _, words in found:
        words = shlex.split(" ".join(words))
        problem = problem_of(["manage", *words] if program == "manage" else words)
        assert problem is None, f"{page}: {' '.join(words)}: {problem}"


def problem_of(words: list[str]) -> str | None:
    """Why a command line cannot be one of persia-launcher's: no such command, or no such option."""
    command: click.Command = main
    context = click.Context(main)
    for word in words:
        if word == "--":
            return None
        if word.startswith("-"):
            options = {name for param in command.params for name in [*param.opts, *param.secondary_opts]} | {"--help"}
            if word.partition("=")[0] not in options:
                return f"there is no option {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return f"there is no command {word}"
            command, context = found, click.Context(found, parent=context)
    return None


def test_mistakes_in_commands_are_seen() -> None:
    assert problem_of(["infer", "--inptu", "x"]) == "there is no option --inptu"
    assert problem_of(["manage", "exchange", "ctr"]) == "there is no command exchange"
    assert problem_of(["up", "--", "--port", "0"]) is None
