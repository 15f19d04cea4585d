"""What was registered, scaled and made the default through the API, kept in a file so that a restart does not forget it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from persia.errors import ConfigError, Unavailable
from persia.system.durable import write_file
from persia.system.lock import lock_file

from .registration import Registration
from .registry import KeptModel
from .served_version import ServedVersion
from .traffic import Traffic

__all__ = ["KeptState", "Model", "StateDirectory", "kept", "registrations", "traffic_of"]

STATE_FILE = "models.json"
LOCK_FILE = "model-server.lock"
FORMAT = 1
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that was registered, and how many workers it had. The rest is what the registration said."""

    url: str
    min_workers: _Count
    max_workers: _Count
    handler: str | None = None
    runtime: str | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    response_timeout: int | None = None
    startup_timeout: int | None = None
    at_start: bool = False
    is_downloaded: bool = False


class Dealt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model's requests were dealt out."""

    weights: dict[str, int] = {}
    sticky_by: str = ""
    shadow: str = ""
    shadow_share: float = 1.0


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model by the numbers of its versions."""

    default: str
    versions: dict[str, Version]
    traffic: Dealt = Dealt()


class KeptState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """brought: what the command line or config.properties has brought so far: it does not come back by itself once it went."""

    models: dict[str, Model] = {}
    brought: list[str] = []
    format: int = FORMAT


_DECODER = msgspec.json.Decoder(KeptState)


class StateDirectory:
    """One server at a time has it, and one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Raises Unavailable if another server has it, OSError."""
        path = path.absolute()  # workers and pip have other working directories
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.requirements = path / "requirements"
        self._file = path / STATE_FILE
        self._lock_file = lock_file(path / LOCK_FILE)
        if self._lock_file is None:
            raise Unavailable(f"expected a state directory of its own, got {path}, which another model server has")

    def read(self) -> KeptState:
        """An empty one if there is no file yet. Raises ConfigError, OSError."""
        try:
            state = _DECODER.decode(self._file.read_bytes())
        except FileNotFoundError:
            return KeptState()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._broken(str(error)) from error
        if state.format != FORMAT:
            raise self._broken(f"expected format {FORMAT}, got {state.format}")
        for name, model in state.models.items():
            if model.default not in model.versions:
                raise self._broken(f"{name}: expected one of its versions as default, got {model.default}")
        return state

    def write(self, state: KeptState) -> None:
        """The old or the new state is on disk, whatever happens meanwhile; the new one on return. Raises OSError."""
        write_file(self._file, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")

    def _broken(self, problem: str) -> ConfigError:
        return ConfigError(f"{problem}: mend the file, or remove it to start with --models alone", "$", str(self._file))


def registrations(state: KeptState) -> list[Registration]:
    """What restores the models, in the order in which they were registered."""
    return [
        Registration(
            url=version.url,
            model_name=name,
            handler=version.handler,
            runtime=version.runtime,
            batch_size=version.batch_size,
            max_batch_delay=version.max_batch_delay,
            response_timeout=version.response_timeout,
            startup_timeout=version.startup_timeout,
            at_start=version.at_start,
            workers=(version.min_workers, version.max_workers),
            is_default=number == model.default,
            is_downloaded=version.is_downloaded,
        )
        for name, model in state.models.items()
        for number, version in model.versions.items()
    ]


def traffic_of(state: KeptState) -> dict[str, Traffic]:
    """Of the models that have some."""
    dealt = {
        name: Traffic(kept.weights, kept.sticky_by, kept.shadow, kept.shadow_share)
        for name, kept in ((name, model.traffic) for name, model in state.models.items())
    }
    return {name: traffic for name, traffic in dealt.items() if traffic}


def kept(model: KeptModel) -> Model:
    """As the file has it."""
    traffic = model.traffic
    dealt = Dealt(dict(traffic.weights), traffic.sticky_by, traffic.shadow, traffic.shadow_share)
    return Model(model.default, {number: _kept_version(version) for number, version in model.versions.items()}, dealt)


def _kept_version(version: ServedVersion) -> Version:
    wanted, (least, most) = version.facts.registration, version.wanted
    return Version(
        url=wanted.url,
        min_workers=least,
        max_workers=most,
        handler=wanted.handler,
        runtime=wanted.runtime,
        batch_size=wanted.batch_size,
        max_batch_delay=wanted.max_batch_delay,
        response_timeout=wanted.response_timeout,
        startup_timeout=wanted.startup_timeout,
        at_start=wanted.at_start,
        is_downloaded=version.facts.fetched is not None,
    )
