"""The steps by which a release gets another number of shards, or a new checkpoint, while it serves."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from persia.errors import InvalidInput
from persia.rollout.release import MOST_SHARDS, Release, check_name, is_place

__all__ = ["Step", "Target", "plan_rollout"]


class Target(NamedTuple):
    """What is wanted. None or an empty text: as it is."""

    shards: int | None = None
    checkpoint: str = ""
    tier: str = ""  # the name of the new release of embedding servers
    chart: str = "deploy/helm/persia-serve"


class Step(NamedTuple):
    """What to do, the commands that do it, and what to know about it."""

    title: str
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plan_rollout(release: Release, target: Target) -> list[Step]:
    """The steps, in order. Raises InvalidInput for a target that asks for nothing, or cannot be reached."""
    shards = release.shards if target.shards is None else target.shards
    if not 1 <= shards <= MOST_SHARDS:
        raise InvalidInput(f"expected from 1 to {MOST_SHARDS} shards, got {shards}")
    if target.checkpoint and not is_place(target.checkpoint):
        raise InvalidInput(f"expected an absolute path or a URL as the new checkpoint, got {target.checkpoint!r:.100}")
    checkpoint = target.checkpoint or release.checkpoint
    is_new = checkpoint != release.checkpoint
    if shards == release.shards and not is_new:
        raise InvalidInput(
            f"{release.name} has {shards} shards and the checkpoint {checkpoint or '(none)'} already: ask for another number "
            "of shards (--shards), or for another checkpoint (--checkpoint)"
        )
    steps: list[Step] = []
    if is_new and release.epochs:
        steps += _by_an_epoch(release, checkpoint)
    if shards != release.shards or not release.epochs:
        # Where an epoch names the checkpoint, servers that start load that one, whatever the values say.
        tier = _name_of_tier(release, target.tier)
        steps += _beside(release, shards, checkpoint, tier, target.chart)
        steps += _change_over(release, shards, tier, target.chart)
    return steps


def _name_of_tier(release: Release, wanted: str) -> str:
    name = wanted or f"{release.name}-{'blue' if release.tier.endswith('-green') else 'green'}"
    if name in (release.tier, release.name):
        raise InvalidInput(f"the release {name} is there already: name another one for the new embedding servers (--tier)")
    return check_name(name, "a release for the new embedding servers")


def _by_an_epoch(release: Release, checkpoint: str) -> list[Step]:
    packets = shlex.quote(release.packets)
    asked = f"kubectl --namespace {release.namespace} exec deployment/{release.tier}-shard-0 -- persia-launcher"
    return [
        Step(
            "Look at the new checkpoint, and at the epochs",
            (f"{asked} checkpoint inspect {shlex.quote(checkpoint)}", f"{asked} epochs log {packets}"),
            (
                "The pods have to see the checkpoint under the same name: a path of a volume that they mount, or a URL.",
                "Give it a directory of its own. A checkpoint that servers have loaded may not be overwritten.",
            ),
        ),
        Step(
            "If no epoch names a checkpoint yet, name the one that is served, so that there is a way back to it",
            (f"{asked} epochs checkpoint {packets} {shlex.quote(release.checkpoint)}",) if release.checkpoint else (),
            ("It costs the servers nothing.",),
        ),
        Step(
            "Name the new one",
            (f"{asked} epochs checkpoint {packets} {shlex.quote(checkpoint)}",),
            (
                "All files are read first, and a broken checkpoint is not committed. Servers then take it over while they "
                "serve; until all have it, answers are of the epoch before, and packets wait.",
                "If most rows differ, it needs retained_epochs_percent: 200, and memory for it.",
            ),
        ),
        Step(
            "Wait until all servers have it",
            (f"{asked} epochs log {packets} --last 3",),
            (
                "persia_epoch of all servers becomes the number that the command has printed, and persia_epoch_stalled_seconds "
                "stays 0.",
                "Leave `checkpoint` in the values as it is: servers that start load what the newest epoch names.",
            ),
        ),
        Step(
            "The way back, if it is needed",
            (f"{asked} epochs revert {packets} --to EPOCH --hold",),
            ("EPOCH is the one before; `epochs release` lets newer packets in again.",),
        ),
    ]


def _beside(release: Release, shards: int, checkpoint: str, tier: str, chart: str) -> list[Step]:
    """The new servers beside the old ones, which nobody asks yet."""
    where = f"--namespace {release.namespace}"
    values = f"{release.tier}-values.yaml"
    settings = {"shards.count": str(shards), "checkpoint": checkpoint, "middleware.replicas": "0", "models.store": ""}
    settings |= _asking("", 0) | {"monitoring.rules.enabled": "false"}  # of which one copy is enough
    return [
        Step(
            f"Write down the values of {release.tier}, which has the {release.shards} shards that serve",
            (f"helm get values {release.tier} {where} --output yaml > {values}",),
        ),
        Step(
            f"Start {shards} new shards beside them, as the release {tier}",
            (f"helm install {tier} {shlex.quote(chart)} {where} --values {values}{_set(settings)}",),
            (
                "Both tiers need their memory until the end. The new servers load the checkpoint and all packets that are "
                "newer, and nobody asks them yet.",
                "A volume of theirs has to be one that several machines can mount (ReadWriteMany or ReadOnlyMany).",
            ),
        ),
        Step(
            "Wait until all of them serve",
            (
                f"kubectl {where} wait deployment --selector app.kubernetes.io/instance={tier} --for=condition=Available "
                f"--timeout={release.start_seconds}s",
            ),
            ("A server is ready when it has loaded its rows and applied the packets that are there.",),
        ),
    ]


def _change_over(release: Release, shards: int, tier: str, chart: str) -> list[Step]:
    """From the old servers to the new ones, and the end of the old ones."""
    where = f"--namespace {release.namespace}"
    back = _asking("", 0) if release.has_own_tier else _asking(release.tier, release.shards)
    end = f"helm uninstall {release.tier} {where}"
    return [
        Step(
            f"Let the middlewares of {release.name} ask them",
            (
                _upgrade(release, chart, _asking(tier, shards)),
                f"kubectl {where} rollout status deployment/{release.name}-middleware --timeout=600s",
            ),
            (
                "Only the middlewares begin anew, one after the other. Each answer is of one tier. Clients that ask embedding "
                "servers directly follow their middleware within a second.",
            ),
        ),
        Step(
            "Look whether all is well",
            (f"kubectl {where} exec deployment/{release.name}-middleware -- persia-launcher health 127.0.0.1:8887",),
            ("persia_forward_errors_total does not rise, and persia_lookups_total rises at the new servers alone.",),
        ),
        Step("The way back, for as long as the old shards run", (_upgrade(release, chart, back),)),
        Step(
            f"When no way back is wanted any more, end the old shards of {release.tier}",
            (_upgrade(release, chart, {"shards.count": "0"}) if release.has_own_tier else end,),
            (
                f"Write embeddingTier{' and shards.count: 0' if release.has_own_tier else ''} into the file of values that you "
                "keep. With an older file the middlewares would ask shards that are not there, which `helm upgrade` refuses "
                "and `helm template` cannot.",
                "Keep the old checkpoint for as long as somebody may want it.",
                *_about_journals(release),
            ),
        ),
    ]


def _about_journals(release: Release) -> tuple[str, ...]:
    if not release.prunes or "://" in release.packets:
        return ()
    return (
        f"Packets are pruned, and each journal in {release.packets}/.applied keeps those that its server would need: once the "
        f"old servers have stopped, delete theirs, which are replica_*_of_{release.shards}*.jsonl.",
    )


def _asking(tier: str, shards: int) -> dict[str, str]:
    return {"embeddingTier.release": tier, "embeddingTier.shards": str(shards)}


def _upgrade(release: Release, chart: str, settings: dict[str, str]) -> str:
    where = f"--namespace {release.namespace}"
    return f"helm upgrade {release.name} {shlex.quote(chart)} {where} --reuse-values{_set(settings)}"


def _set(settings: dict[str, str]) -> str:
    """Numbers and flags as they are, texts as texts; what means something to --set is escaped."""
    words = ""
    for key, value in settings.items():
        is_text = not (value.isdecimal() or value in ("true", "false"))
        escaped = "".join(f"\\{letter}" if letter in "\\,{}[]" else letter for letter in value)
        words += f" {'--set-string' if is_text else '--set'} {shlex.quote(f'{key}={escaped}')}"
    return words
