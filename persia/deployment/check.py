"""The check that `up` makes before it starts anything: `persia-launcher check`, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from persia.deployment.plan import DeploymentPlan
from persia.system.address import host_and_port

__all__ = ["check_arguments", "passes_check"]

SECONDS = 5.0  # for reading rows: what was read by then is a fair sample of them


def passes_check(plan: DeploymentPlan) -> bool:
    """Whether nothing failed, the check itself included. What is not as it should be is printed, warnings too.

    The check runs in a process of its own, because it may load torch and a model, which `up` would keep in memory for ever.
    """
    command = [sys.executable, "-m", "persia.launcher", "check", *check_arguments(plan)]
    return subprocess.run(command).returncode == 0


def check_arguments(plan: DeploymentPlan) -> list[str]:
    """Of `persia-launcher check`, for what is about to be started."""
    arguments = ["--global-config", str(plan.global_config), "--embedding-config", str(plan.embedding_config)]
    arguments += ["--state", str(plan.state), "--middleware-port", host_and_port(plan.middleware)[1]]
    arguments += ["--front", plan.front.value, "--ports-must-be-free", "--problems-only", "--time-limit", str(SECONDS)]
    if plan.model_store is not None:
        arguments += ["--model-store", str(plan.model_store), "--models", ",".join(plan.models) or "all"]
        given = plan.given
        for option, port in (("--port", given.port), ("--management-port", given.management_port)):
            if port is not None:
                arguments += [option, str(port)]
        if plan.ts_config is not None:
            arguments += ["--ts-config", str(plan.ts_config)]
    return arguments
