"""Whom `infer` asks: one version of the model, or for each request the one that its key has (`--split`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from persia.errors import InvalidInput

from .predict import Client, Prediction
from .split import parse_split
from .split_client import SplitClient, split_model

__all__ = ["Request", "asking", "keyed_requests"]


class Request(NamedTuple):
    """A byte batch, and what its version is chosen by."""

    data: bytes
    key: str


class _DetailedClient(Client):
    """Its answers say what they were made of."""

    def predict(
        self, batch: Any, timeout: float | None = None, *, details: Any = True, variant: str = "", more: Any = None
    ) -> Any:
        return super().predict(batch, timeout, details=details, variant=variant, more=more)


def keyed_requests(batches: Sequence[bytes], first: int, values: Sequence[Any] | None, batch_size: int) -> list[Request]:
    """Makes a request of each batch. The key of a request is its number, counted from `first`, or the value of its samples.

    values: one for each sample of all batches; None: the numbers are the keys. Raises InvalidInput for a batch whose samples
    have several values, or none.
    """
    if values is None:
        return [Request(batch, str(number)) for number, batch in enumerate(batches, first)]
    requests = []
    for i, batch in enumerate(batches):
        of_batch = {str(value) for value in values[i * batch_size : (i + 1) * batch_size]}
        if len(of_batch) != 1:
            some = " and ".join(sorted(of_batch)[:2]) or "none"
            raise InvalidInput(f"expected one value to split by in a request (--batch-size 1), got {some}")
        requests.append(Request(batch, *of_batch))
    return requests


@contextmanager
def asking(
    model: str, address: str, version: str | None, split: str | None, **options: Any
) -> Iterator[tuple[Callable[[Request], Prediction], Callable[[], str | None]]]:
    """How a request is asked, and how the results by version are told once all were; None without `split`.

    split: weights as in `1.0=90,2.0=10`; options: Client's. Raises InvalidInput.
    """
    if split is None:
        with _DetailedClient(model, address, version=version, **options) as client:
            yield lambda request: client.predict(request.data), lambda: None
        return
    if version is not None:
        raise InvalidInput(f"expected --version or --split, got {version} and {split}")
    sides: SplitClient
    with split_model(model, parse_split(split), address, client=_DetailedClient, **options) as sides:
        yield lambda request: sides.predict(request.data, request.key).answer, sides.table
