"""Models that many tests share."""

from __future__ import annotations

import pytest

from tests.support.text_serving import Served, model_directory


@pytest.fixture(scope="session")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The golden model that classifies texts, in this process, as the three after it. Tests leave them as they are."""
    return text_model(tmp_path_factory, "sequence_classification")


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return text_model(tmp_path_factory, "token_classification")


@pytest.fixture(scope="session")
def question(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return text_model(tmp_path_factory, "question_answering")


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return text_model(tmp_path_factory, "sequence_classification", mode="text_embedding", normalize="True")


def text_model(factory: pytest.TempPathFactory, golden: str, **settings: str) -> Served:
    from tests.support.text_serving import Served

    return Served(model_directory(factory.mktemp("text"), golden, settings=settings))
