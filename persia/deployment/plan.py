"""What a deployment is to consist of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from persia.deployment.front import Front
from persia.errors import InvalidInput
from persia.security import ClientSecurity
from persia.system.address import host_and_port, is_loopback
from persia.torchserve.run.command import GivenArguments

__all__ = ["DeploymentPlan", "check_local"]


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """What is to run. Addresses are of this machine."""

    state: Path  # logs
    global_config: Path
    embedding_config: Path
    servers: Sequence[Sequence[str]]  # for each shard its replicas
    middleware: str
    model_store: Path | None = None  # None: without a home for handlers
    models: Sequence[str] = ()
    front: Front = Front.TORCHSERVE
    front_arguments: Sequence[str] = ()
    ts_config: Path | None = None
    log_format: str = "text"  # of all processes
    metrics: bool = False  # whether servers and middleware offer them
    security: ClientSecurity | None = None  # of servers and middleware
    metrics_port_base: int | None = None  # None: ports that are kept in `state`

    @property
    def front_state(self) -> Path:
        return self.state / self.front.state_name

    @cached_property
    def given(self) -> GivenArguments:
        """What the front's own arguments say."""
        return self.front.given(self.front_arguments)


def check_local(addresses: Sequence[str]) -> None:
    """Raises InvalidInput unless all of them are loopback addresses: processes are started on this machine only."""
    for address in addresses:
        if not is_loopback(host_and_port(address)[0]):
            raise InvalidInput(f"expected servers on this machine (127.0.0.1), got {address}: start it where it belongs")
