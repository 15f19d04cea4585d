"""Text models asked over HTTP."""

from __future__ import annotations

import pytest

from persia.client.split_client import split_model
from persia.client.text import HttpTextClient
from persia.errors import InvalidInput, NotFound, Unavailable
from tests.support.servers import PATIENCE
from tests.support.torchserves import TorchServeRun

pytestmark = pytest.mark.whole_way


def test_a_text_model_over_http(open_torchserve: TorchServeRun) -> None:
    port = open_torchserve.said(r"inference over HTTP on port (\d+)")[1]
    address = f"127.0.0.1:{port}"
    with split_model("probe", {"1.0": 1}, address, client=HttpTextClient, timeout=PATIENCE) as split:
        assert split.predict({"text": "in JSON"}, "key") == ("1.0", "[1.0]")
        assert split.predict("as text", "key") == ("1.0", "[1.0]")
    for model, version in (("nowhere", None), ("probe", "9.9")):
        with pytest.raises(NotFound):
            HttpTextClient(model, address, version=version).predict("some text")
    with pytest.raises(InvalidInput, match="what JSON can say, got set"):
        HttpTextClient("probe", address).predict({"a set"})


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"expected an answer of http://127.0.0.1:1/predictions/m/1.0: "):
        HttpTextClient("m", "127.0.0.1:1", version="1.0").predict("text")
