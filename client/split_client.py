"""Versions of a model side by side: each request goes to the one that its key has, and what came of it is counted by version.

with split_model("ctr", {"1.0": 90, "2.0": 10}, token_file=...) as split:
    version, scores = split.predict(batch, key=user_id)
    print(split.table())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np

from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, PersiaError, TooLarge

from .predict import DEFAULT_ADDRESS, Client, Prediction
from .shadow import Shadow
from .split import Key, Split
from .version_results import Results, VersionResults

__all__ = ["Answered", "SplitClient", "mean_score", "split_model"]

# What another version would say as well, or has no time left for.
_NOT_THE_VERSIONS_FAULT = (InvalidInput, TooLarge, AccessDenied, DeadlineExceeded)


class VersionClient(Protocol):
    """A client of one version: persia.client.predict.Client, or those of persia.client.text."""

    def predict(self, request: Any, timeout: float | None = None) -> Any: ...
    def close(self) -> None: ...


class Answered(NamedTuple):
    """An answer, and whose it is: that of the key's version, unless that one failed and another answered."""

    version: str
    answer: Any


def mean_score(answer: Any) -> float | None:
    """Of an array of scores, or of a Prediction that has one; None of all else."""
    scores = answer.scores if isinstance(answer, Prediction) else answer
    return float(np.mean(scores)) if isinstance(scores, np.ndarray) and scores.size else None


class SplitClient:
    """Safe for use by many threads, as its clients are."""

    def __init__(
        self,
        clients: Mapping[str, VersionClient],
        weights: Mapping[str, float],
        *,
        salt: str = "",
        fall_back_to: str | None = None,
        shadow: str | None = None,
        score_of: Callable[[Any], float | None] = mean_score,
    ) -> None:
        """As they are given.

        Args:
            clients: Of each version one, which close() closes.
            weights: As Split has them; versions without one are there for callers that name them, and for the shadow.
            salt: As Split has it.
            fall_back_to: The version that answers where another one fails: is not there, has no worker, or its handler fails.
                Not where the request is at fault, nor where its time is over.
            shadow: The version that gets a copy of each request which another one has answered. A thread of its own sends the
                copies, and those are dropped that it has no time for: no caller waits for them or hears of their errors.
            score_of: What of an answer is averaged, version by version.

        Raises InvalidInput.
        """
        self._clients, self._score_of = dict(clients), score_of
        for version in (*weights, *filter(None, (fall_back_to, shadow))):
            self._client(version)
        self._split = Split(weights, salt)
        self._fall_back_to = fall_back_to
        self._results = {version: VersionResults() for version in clients}
        self._shadow = None if shadow is None else Shadow(self._clients[shadow].predict, self._score_of)
        self._shadowed_by = shadow

    @property
    def weights(self) -> Mapping[str, float]:
        return self._split.weights

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """From the next request on. Of all keys only those change their version that must. Raises InvalidInput."""
        for version in weights:
            self._client(version)
        self._split = Split(weights, self._split.salt)

    def version_of(self, key: Key) -> str:
        """The version that this key has now."""
        return self._split.version_of(key)

    def predict(
        self, request: Any, key: Key | None = None, *, version: str | None = None, timeout: float | None = None
    ) -> Answered:
        """The answer of the version that the key has, or of the one that is named.

        request: what the clients' `predict` takes; where there is a shadow, it must not be changed afterwards.
        timeout: seconds for all tries together.
        Raises InvalidInput without key and version, and with both; what the version's client raises.
        """
        if (key is None) == (version is None):
            raise InvalidInput("expected either the key that a version is chosen by, or the version")
        chosen = self._split.version_of(key) if key is not None else str(version)
        client, began = self._client(chosen), time.monotonic()
        try:
            answer = self._ask(chosen, client, request, timeout)
        except PersiaError as error:
            other = self._fall_back_to
            if other in (None, chosen) or isinstance(error, _NOT_THE_VERSIONS_FAULT):
                raise
            left = None if timeout is None else timeout - (time.monotonic() - began)
            answer = self._ask(str(other), self._client(str(other)), request, left)
            self._results[chosen].fell_back()
            chosen = str(other)
        if self._shadow is not None and chosen != self._shadowed_by:
            self._shadow.copy(request, answer)
        return Answered(chosen, answer)

    def results(self) -> dict[str, Results]:
        """Of each version, what callers got of it."""
        return {version: results.results() for version, results in self._results.items()}

    def shadow_results(self) -> tuple[Results, int]:
        """Of the copies, and how many were dropped. Raises InvalidInput where there is no shadow."""
        if self._shadow is None:
            raise InvalidInput("the client has no shadow: give `shadow` when you make it")
        return self._shadow.results(), self._shadow.dropped

    def table(self) -> str:
        """The results for people, a line for each version."""
        lines = ["version   weight  requests  errors  fell back    p50 ms    p99 ms  mean score"]
        for version, of in self.results().items():
            weight, errors = self.weights.get(version, 0), sum(of.errors.values())
            lines.append(
                f"{version:<8} {weight:>7g} {of.requests:>9} {errors:>7} {of.fell_back:>10} "
                f"{of.p50 * 1000:>9.2f} {of.p99 * 1000:>9.2f} {of.score_mean:>11.6g}"
            )
        return "\n".join(lines)

    def close(self) -> None:
        """Ends the shadow, with what it has not sent yet, and the clients."""
        if self._shadow is not None:
            self._shadow.close()
        for client in self._clients.values():
            client.close()

    def __enter__(self) -> SplitClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _client(self, version: str) -> VersionClient:
        if version not in self._clients:
            raise InvalidInput(f"expected one of the versions {', '.join(self._clients)}, got {version!r}")
        return self._clients[version]

    def _ask(self, version: str, client: VersionClient, request: Any, timeout: float | None) -> Any:
        began = time.perf_counter()
        try:
            answer = client.predict(request, timeout)
        except Exception as error:
            self._results[version].failed(error)
            raise
        self._results[version].answered(time.perf_counter() - began, self._score_of(answer))
        return answer


def split_model(
    model: str,
    weights: Mapping[str, float],
    address: str = DEFAULT_ADDRESS,
    *,
    client: Callable[..., VersionClient] = Client,
    salt: str = "",
    fall_back_to: str | None = None,
    shadow: str | None = None,
    score_of: Callable[[Any], float | None] = mean_score,
    **options: Any,
) -> SplitClient:
    """A split of one model's versions on one TorchServe.

    client: Client, or TextClient and HttpTextClient of persia.client.text; options: their other ones, such as `token_file`.
    The rest is as SplitClient has it. Raises InvalidInput.
    """
    versions = dict.fromkeys([*weights, *filter(None, (fall_back_to, shadow))])
    clients = {version: client(model, address, version=version, **options) for version in versions}
    return SplitClient(clients, weights, salt=salt, fall_back_to=fall_back_to, shadow=shadow, score_of=score_of)
