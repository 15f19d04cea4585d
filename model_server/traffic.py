"""How the requests of a model are dealt out among its versions: by weight, and copied to a candidate."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .refusals import BadRequest, VersionNotFound

__all__ = ["HEADER", "Share", "Traffic", "changed_traffic"]

_MOST_WEIGHT = 1_000_000
_WEIGHT = re.compile("[0-9]{1,7}")
HEADER = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]*")  # the name of one
_KEYS = ("weights", "sticky_by", "shadow", "shadow_share")


class Share(NamedTuple):
    """What a version takes of the requests that the default one has, by its model-config.yaml: `shadow` as copies."""

    percent: int = 0
    sticky_by: str = ""
    shadow: float = 0.0


@dataclass(frozen=True)
class Traffic:
    """Of requests that name no version. Without weights the default version gets all of them.

    sticky_by: a header or a gRPC metadata key; requests with the same value of it get the same version.
    shadow: a version that gets copies of a share of the requests, which nobody waits for.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    sticky_by: str = ""
    shadow: str = ""
    shadow_share: float = 1.0

    def __bool__(self) -> bool:
        return bool(self.weights or self.shadow)

    def without(self, version: str) -> Traffic:
        """As it goes on when a version is gone."""
        weights = {name: weight for name, weight in self.weights.items() if name != version}
        if not any(weights.values()):
            weights = {}
        return replace(self, weights=weights, shadow="" if self.shadow == version else self.shadow)

    def with_share(self, version: str, share: Share, default: str) -> Traffic:
        """As it goes on when a version has come, which takes its percents from the default one. Raises BadRequest."""
        traffic = self
        if share.percent:
            weights = {name: 100 * weight for name, weight in (self.weights or {default: 1}).items()}
            taken = share.percent * sum(weights.values()) // 100
            if weights.get(default, 0) < taken:
                raise BadRequest(
                    f"expected at least {share.percent} % of the requests with the default version {default}, from which "
                    f"version {version} takes its trafficPercent, got {dict(self.weights)}: change the weights before"
                )
            weights |= {default: weights[default] - taken, version: taken}
            unit = math.gcd(*weights.values())
            weights = {name: weight // unit for name, weight in weights.items()}
            traffic = replace(traffic, weights=weights, sticky_by=share.sticky_by.lower() or self.sticky_by)
        return replace(traffic, shadow=version, shadow_share=share.shadow) if share.shadow else traffic

    def described(self) -> dict[str, Any]:
        """As the management says it, and takes it."""
        return {
            "weights": dict(self.weights),
            "sticky_by": self.sticky_by,
            "shadow": self.shadow,
            "shadow_share": self.shadow_share,
        }


def changed_traffic(name: str, before: Traffic, asked: Mapping[str, str], versions: Collection[str]) -> Traffic:
    """What is asked for goes in the place of what was before, and the rest stays. Raises BadRequest, VersionNotFound.

    asked: `weights` such as `1.0:90,2.0:10`, `sticky_by`, `shadow`, `shadow_share`; an empty text takes away what was there.
    """
    if unknown := sorted(set(asked) - set(_KEYS)):
        raise BadRequest(f"expected {', '.join(_KEYS)}, got {unknown[0]}")
    shadow = asked.get("shadow", before.shadow)
    traffic = Traffic(
        weights=_weights(asked["weights"]) if "weights" in asked else before.weights,
        sticky_by=_header(asked["sticky_by"]) if "sticky_by" in asked else before.sticky_by,
        shadow=shadow,
        shadow_share=_share(asked.get("shadow_share") or "1") if "shadow_share" in asked or not shadow else before.shadow_share,
    )
    for version in (*traffic.weights, *([traffic.shadow] if traffic.shadow else [])):
        if version not in versions:
            raise VersionNotFound(f"Model version: {version} does not exist for model: {name}")
    return traffic


def _weights(text: str) -> dict[str, int]:
    weights: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        version, _, weight = part.rpartition(":")
        if not version or version in weights or not _WEIGHT.fullmatch(weight) or int(weight) > _MOST_WEIGHT:
            raise BadRequest(
                f"expected weights such as 1.0:90,2.0:10, each version once and up to {_MOST_WEIGHT}, got {part!r}"
            )
        weights[version] = int(weight)
    if weights and not any(weights.values()):
        raise BadRequest(f"expected at least one version with a weight over 0, got {text!r}")
    return weights


def _header(text: str) -> str:
    if not HEADER.fullmatch(text):
        raise BadRequest(f"expected the name of a header for sticky_by, got {text!r:.100}")
    return text.lower()


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise BadRequest(f"expected a shadow_share over 0 and up to 1, got {text!r}")
    return share
