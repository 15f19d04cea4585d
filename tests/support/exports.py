"""The export of the plain model (plain_models), with whatever a test changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from persia.export import Export, Feature, from_torch
from tests.support import plain_models
from tests.support.plain_models import COUNTRIES, LENGTH, USERS, Model

IDS = np.arange(USERS) + 1000


def features(**changed: Any) -> dict[str, Any]:
    """Those of the plain model, with some of them changed; None: without it."""
    all_of_them = {
        "user": Feature("users", ids=IDS),
        "tags": "tags",
        "history": Feature("items", length=LENGTH),
        "item": Feature("items"),
        "country": Feature("countries", ids=COUNTRIES),
    }
    return {name: value for name, value in (all_of_them | changed).items() if value is not None}


def export(out: Path, model: Model | None = None, mapping: dict[str, Any] | None = None, **changed: Any) -> Export:
    """All of it right, but for what a test changes."""
    ids, dense, inputs = plain_models.sample()
    arguments: dict[str, Any] = {"sample": ids, "dense": dense, "inputs": inputs, "dense_half": "dense", "name": "plain"}
    return from_torch(model or Model(), features() if mapping is None else mapping, out, **(arguments | changed))
