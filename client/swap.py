"""A new version in the place of the old one, without a lost request."""

from __future__ import annotations

import filecmp
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from persia.errors import InvalidInput, NotFound, PersiaError
from persia.system.durable import replacing
from persia.torchserve.management import REGISTER_SECONDS, Management
from persia.torchserve.model import Model

from .dense_switch import DenseSwitch
from .predict import DEFAULT_TIMEOUT

__all__ = ["put_into_store", "swap"]

# A call that was running when the default changed has ended after the longest deadline that callers give.
DRAIN_SECONDS = DEFAULT_TIMEOUT


def swap(
    management: Management,
    name: str,
    archive: str,
    *,
    wait: float = REGISTER_SECONDS,
    drain: float = DRAIN_SECONDS,
    check: Callable[[Model], None] = lambda model: None,
    keep_old: bool = False,
    switch: DenseSwitch | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> Model:
    """Registers an archive of the model store, waits until it is READY, makes it the default, drains, removes the old default.

    The new version gets at least as many workers as the old one has, whatever its archive says: the load stays the same.

    wait: seconds for workers to start. drain: seconds, at least the longest deadline of any caller: TorchServe kills a
    version's workers when it is unregistered, and never answers what they had. Callers that name the old version must have
    stopped. check: may raise for the new version, before it gets requests. Until the default changes every failure leaves all
    as it was; if the new version has no worker left after draining, the old one becomes the default again. switch: names the
    new version in an epoch before it is checked, and the old one again where that stays the default; the check has to wait for
    the epoch. Raises NotFound if the model is not there yet, PersiaError.
    """
    old = management.default(name)
    report(f"{name} {old.version} serves; registering {archive}")
    workers = max(old.min_workers, 1)
    new = management.register(archive, name, timeout=wait)
    try:
        if new.min_workers < workers:
            new = management.scale(name, workers, new.version, wait)
        if switch is not None:
            report(f"from epoch {switch.commit(name, new.version)} on, rows are for {name} {new.version}")
        check(new)
        report(f"{name} {new.version} is READY with {new.ready} workers; making it the default")
        management.set_default(name, new.version)
    except BaseException:
        _take_back(management, name, new.version, switch)
        raise
    try:
        report(f"{name} {new.version} is the default; {drain:g} s for what {old.version} still does")
        time.sleep(drain)
        current = management.default(name)
        if current.version != new.version:
            raise PersiaError(
                f"{name} {current.version} has become the default meanwhile; {new.version} stays, for who names it"
            )
        lost = current.ready == 0
        if not lost and not keep_old:
            with suppress(NotFound):  # somebody else did it
                management.unregister(name, old.version)
            report(f"{name} {old.version} is unregistered")
    except BaseException:
        if _is_left(management, name, old.version):
            report(f"{name} {old.version} is left: persia-launcher manage unregister {name} --version {old.version}")
        raise
    if lost:
        _give_way(management, name, new.version, old.version, switch)
    return new


def _take_back(management: Management, name: str, version: str, switch: DenseSwitch | None) -> None:
    """A version that is not the default goes, as far as that can be done: what went wrong first is what counts."""
    with suppress(PersiaError):
        if management.default(name).version == version:
            return
        if switch is not None:
            with suppress(PersiaError, OSError):
                switch.undo()
        management.forget(name, version)


def _is_left(management: Management, name: str, version: str) -> bool:
    """Whether a version is there to no purpose, as far as can be known."""
    try:
        return not management.describe(name, version)[0].is_default
    except NotFound:
        return False
    except PersiaError:
        return True


def _give_way(management: Management, name: str, new: str, old: str, switch: DenseSwitch | None) -> NoReturn:
    """Back to the old version, from one that has no worker left."""
    problem = f"{name} {new} lost all its workers (see model_log.log)"
    try:
        management.set_default(name, old)
        if switch is not None:
            switch.undo()
        management.forget(name, new)
    except PersiaError as error:
        raise PersiaError(f"{problem}, and {old} does not take its place again: {error}") from error
    raise PersiaError(f"{problem}: {old} is the default again")


def put_into_store(archive: Path, store: Path) -> bool:
    """Copies an archive into a model store, where it appears whole. Returns False if it is there already.

    Raises InvalidInput if another one of that name is there, OSError.
    """
    target = store / archive.name
    if target.exists():
        if not filecmp.cmp(archive, target, shallow=False):
            raise InvalidInput(f"expected an archive under a new name, got {archive.name}, of which {store} has another one")
        return False
    with replacing(target) as partial:
        shutil.copyfile(archive, partial)
    return True
