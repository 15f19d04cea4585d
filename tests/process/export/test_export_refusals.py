"""What would not be served as the model scores is refused by the export, and the message says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persia.errors import ExportError
from persia.export import Feature, from_torch
from persia.export.features import resolve
from persia.export.proof import compare_embeddings
from persia.export.sample import Expected
from tests.support import plain_models
from tests.support.exports import IDS, export, features
from tests.support.plain_models import DIM, USERS, Model

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


class Biased(Model):
    """Its forward does something besides its dense half."""

    def forward(self, *inputs: Any) -> torch.Tensor:
        return super().forward(*inputs) + 0.01


class Padded(Model):
    """A padding that is not zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.nn.init.ones_(self.items.weight)


def scaled(factor: float) -> Model:
    model = Model()
    with torch.no_grad():
        model.countries.weight *= factor
    return model


def without(*names: str) -> dict[str, Any]:
    return {name: ids for name, ids in plain_models.sample()[0].items() if name not in names}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "ids off by one",
        {"mapping": features(user=Feature("users", ids=IDS + 1))},
        "For feature `user` the model looks up other rows .* first in sample 0",
    ),
    (
        "an order that is not the model's",
        {"mapping": {name: features()[name] for name in ("user", "tags", "history", "country", "item")}},
        "in sample 0, .* in another order than `features` has",
    ),
    (
        "what may cause a difference",
        {"model": Biased()},
        "padding, .* (mean or sum, weights)".replace("(", r"\(").replace(")", r"\)"),
    ),
    (
        "a forgotten input",
        {"inputs": plain_models.sample()[2][:-2]},
        "`inputs` does not fit the model's forward, it has no `item` and no `country`: .* missing 2 required positional",
    ),
    (
        "an input too many",
        {"inputs": [*plain_models.sample()[2], 1]},
        "does not fit the model's forward, which takes `numbers`, .*, `country` .too many positional arguments.: .* 8 were",
    ),
    ("a forward that does more", {"model": Biased()}, "does something besides its dense half"),
    ("ids that are no table's", {"mapping": features(user="users")}, "none of the sample's 6 ids of feature `user` has a row"),
    ("a module that is not there", {"mapping": features(user="user")}, "has no module `user`: did you mean `users`"),
    ("a dense half that is not there", {"dense_half": "top"}, "no module `top` .* it has users, tags"),
    ("no dense half", {"dense_half": None}, "name this module as `dense_half`"),
    ("no inputs", {"inputs": None}, "give `inputs`"),
    ("a sample without a feature", {"sample": without("item")}, "the sample has no feature `item`"),
    ("a sample with one more", {"sample": without() | {"users": IDS[:6]}}, "`sample` has `users`, .* mean `user`"),
    ("no ids of a feature", {"sample": without() | {"tags": [[]] * 6}}, "the sample has no id of feature `tags`"),
    ("too few ids", {"mapping": features(user=Feature("users", ids=IDS[1:]))}, "has 30 rows, and `ids` has 29"),
    (
        "an id twice",
        {"mapping": features(user=Feature("users", ids=IDS // 2))},
        "`user`: the table has two rows for the id 500",
    ),
    ("pooling left out", {"mapping": features(history=Feature("items"))}, "`history` has samples of several ids"),
    ("raw without a length", {"mapping": features(history=Feature("items", pooling="raw"))}, "raw feature needs a `length`"),
    ("a length of a sum", {"mapping": features(tags=Feature("tags", pooling="sum", length=2))}, "`length` belongs to .* raw"),
    ("an unknown pooling", {"mapping": features(tags=Feature("tags", pooling="max"))}, "expected a pooling of"),  # type: ignore[arg-type]
    ("NaN in a table", {"model": scaled(np.nan)}, "`country`: the row of id .* has NaN"),
    ("rows that f16 does not hold", {"model": scaled(1e6)}, "embeddings up to .* f16, .* holds at most 65504"),
    (
        "weights that are missing",
        {"mapping": features(tags=Feature("tags", weighted=True))},
        "`tags` is weighted, and `weights`",
    ),
    (
        "weights of a history",
        {"mapping": features(history=Feature("items", length=2, weighted=True))},
        "rows that stay apart have no weights",
    ),
    ("a padding of ones", {"model": Padded()}, "row 0 of the table is the padding, and is not zero"),
    ("a sample of bytes", {"sample": b""}, "expected the `sample` as a mapping of feature to ids, got bytes"),
    (
        "two ids of one row",
        {"mapping": features(user=Feature("users", ids=[*IDS[:-1], 1000 + (1 << 56) - 1]))},
        "the ids 1000 and 72057594037928935 fall on the same row",
    ),
    ("a table of text", {"mapping": features(user=3)}, "`user`: expected a module's path, .* got int"),
]


@pytest.mark.parametrize(("changed", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_named_and_leaves_nothing(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=re.compile(message, re.DOTALL)):
        export(tmp_path / "out", **changed)
    assert list(tmp_path.iterdir()) == []


def test_packets_are_not_thrown_away_by_a_second_export(tmp_path: Path) -> None:
    packet = tmp_path / "out" / "incremental_dir" / "s0" / "inc_20261128000000"
    packet.mkdir(parents=True)
    with pytest.raises(
        ExportError, match=r"out has update packets, such as inc_20261128000000, which an export would throw away"
    ):
        export(tmp_path / "out", overwrite=True)
    assert packet.is_dir()


def test_a_row_beyond_f16_is_found_also_where_the_sample_has_none_of_it(tmp_path: Path) -> None:
    model = Model()
    with torch.no_grad():
        model.users.weight[USERS - 1] = 1e5
    with pytest.raises(ExportError, match=rf"`user`: the row of id {IDS[-1]} has embeddings up to 100000, and f16, .* 65504"):
        export(tmp_path / "out", model=model)


def test_a_mean_that_leaves_paddings_out_is_refused(tmp_path: Path) -> None:
    model = Model()
    model.tags.padding_idx = 0
    with pytest.raises(ExportError, match=r"`tags`: the nn\.EmbeddingBag leaves its padding out of the number of ids"):
        export(tmp_path / "out", model=model)


def test_a_script_that_scores_otherwise_is_found(tmp_path: Path) -> None:
    class TwoFaced(torch.nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            scores = embeddings[0].float().sum(1)
            return scores + 1e-3 if torch.jit.is_scripting() else scores  # type: ignore[attr-defined]

    message = "the served scores are not those of the dense half: in sample 0, the first of 6 of 6"
    with pytest.raises(ExportError, match=message):
        from_torch(TwoFaced(), {"user": (IDS, np.ones((USERS, DIM)))}, tmp_path / "out", sample={"user": IDS[:6]})
    assert list(tmp_path.iterdir()) == []


def test_embeddings_that_are_not_the_tables_are_named_with_the_feature_that_differs_most() -> None:
    used = resolve(Model(), features())[:2]
    values = [np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(-2, 1, 12).reshape(3, 4)]
    expected = [Expected(each, np.zeros(1)) for each in values]
    served = [each.astype(np.float16) for each in values]
    compare_embeddings(used, expected, served, "wrong")
    served[0][0, 0] = np.nextafter(served[0][0, 0], np.float16(-2))  # the next f16 number is too far already
    with pytest.raises(ExportError, match=r"^wrong: feature `user` differs most, by up to 0\.000.*; first in sample 0"):
        compare_embeddings(used, expected, served, "wrong")
    served[1][2] = served[1][1]
    with pytest.raises(ExportError, match=r"^wrong: feature `tags` differs most, by up to 1.*; first in sample 2"):
        compare_embeddings(used, expected, served, "wrong")


def test_a_dense_half_that_torchscript_does_not_take_is_shown_with_its_line(tmp_path: Path) -> None:
    class Closed(torch.nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return embeddings[0][:, :DIM].sum(1)

    with pytest.raises(ExportError, match=r"TorchScript does not take the dense half Closed(?s:.*)\[:, :DIM\]"):
        from_torch(Closed(), {"user": (IDS, np.ones((USERS, DIM)))}, tmp_path / "out", sample={"user": IDS[:6]})


def test_a_dense_half_for_f32_alone_is_told_that_embeddings_are_f16(tmp_path: Path) -> None:
    class OnlyFloat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(DIM, 1)

        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return self.layer(embeddings[0])  # type: ignore[no-any-return]

    with pytest.raises(ExportError, match="float16"):
        from_torch(OnlyFloat(), {"user": (IDS, np.ones((USERS, DIM)))}, tmp_path / "out", sample={"user": IDS[:6]})
