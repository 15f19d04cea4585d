"""Whether the description of the REST API has all that the server's Python answers; native routes are tried by their own test.

The cases of the two `match` statements that answer are read from the sources, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from persia.model_server.api_description import DESCRIPTIONS
from persia.model_server.api_operations import OPERATIONS
from persia.model_server.open_inference import rest_api
from persia.model_server.rest import RestManagement

DESCRIBED = {(re.sub(r"{\w+}", "{}", one.path), one.method) for one in (*OPERATIONS, *DESCRIPTIONS)}
REFUSED = {("/workflows", ""), ("/workflows/{}", ""), ("/wfpredict/{}", ""), ("/wfpredict/{}/{}", "")} | {
    ("/workflows", "post"),
    ("/workflows/{}", "get"),
    ("/workflows/{}", "delete"),
}
Case = tuple[str, str]  # a path, and a method in lower case; empty: any


def alternatives(pattern: ast.pattern) -> list[ast.pattern]:
    return list(pattern.patterns) if isinstance(pattern, ast.MatchOr) else [pattern]


def text_of(pattern: ast.pattern) -> str:
    """Of a segment; `{}`: any. Of a method in upper case; `{}`: any."""
    return str(ast.literal_eval(pattern.value)) if isinstance(pattern, ast.MatchValue) else "{}"


def paths_of(pattern: ast.pattern) -> Iterator[str]:
    """A rest of any length stands for no segment, and for one."""
    if not isinstance(pattern, ast.MatchSequence):
        return
    choices = [
        ["", "/{}"] if isinstance(segment, ast.MatchStar) else [f"/{text_of(one)}" for one in alternatives(segment)]
        for segment in pattern.patterns
    ]
    yield from ("".join(path) or "/" for path in itertools.product(*choices))


def cases_of(function: Callable[..., Any]) -> list[ast.pattern]:
    (match,) = [
        node for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))) if isinstance(node, ast.Match)
    ]
    return [pattern for case in match.cases for pattern in alternatives(case.pattern)]


def answered() -> set[Case]:
    cases = set()
    for pattern in cases_of(RestManagement._answer):
        if not isinstance(pattern, ast.MatchSequence):
            continue  # `case _`
        method, path = pattern.patterns
        methods = ["" if (text := text_of(one)) == "{}" else text.lower() for one in alternatives(method)]
        cases |= {(text, one) for text in paths_of(path) for one in methods}
    below_v2 = {path.rstrip("/") for pattern in cases_of(rest_api._answer_get) for path in paths_of(pattern)}
    cases = {case for case in cases if not case[0].startswith("/v2")} | {(f"/v2{path}", "get") for path in below_v2}
    return {case for case in cases - REFUSED if case[1] != "options"}


def test_what_is_answered_is_described() -> None:
    paths = {path for path, _ in DESCRIBED}
    by_post_alone = {("/v2/models/{}/infer", "get"), ("/v2/models/{}/versions/{}/infer", "get")}  # which tell GET so
    cases = answered() - by_post_alone
    assert {("/v1/models/{}", "get"), ("/models/{}/{}", ""), ("/v2/health/live", "get")} <= cases  # they are read rightly
    missing = {case for case in cases if case not in DESCRIBED and not (case[1] == "" and case[0] in paths)}
    assert missing == set()


def test_operations_have_names_of_their_own() -> None:
    names = [one.id for one in OPERATIONS]
    assert len(names) == len({*names})
    assert len({(one.path, one.method, one.role) for one in OPERATIONS}) == len(OPERATIONS)
