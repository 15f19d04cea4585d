"""`persia-launcher health HOST:PORT`: the health of one server as an exit code, for probes."""

from __future__ import annotations

import sys
from enum import IntEnum

import click
import msgspec
from grpc_health.v1 import health_pb2

from persia.cli.failures import give_up
from persia.cli.security_options import client_options, security_of
from persia.config.servers import address_problem
from persia.errors import ConfigError, DeadlineExceeded, NotFound, PersiaError, Unavailable
from persia.monitoring.health_calls import HealthCall, KeyedCall, PlainCall, has_keys
from persia.seconds import Seconds
from persia.torchserve.state import KEY_FILE

__all__ = ["Ending", "health"]

PROGRAM = "health"


class Ending(IntEnum):
    """Exit codes; 2 is that of a wrong command line."""

    HEALTHY = 0
    NOT_SERVING = 1
    NO_ANSWER = 3
    REFUSED = 4


@click.command(context_settings={"show_default": True})
@click.argument("address", metavar="HOST:PORT|unix:/PATH")
@click.option("--live", is_flag=True, help="Whether it answers at all, also that it does not serve yet: for liveness probes.")
@click.option("--service", default="", help="A service of the server, such as a model at TorchServe's health port.")
@click.option("--timeout", type=Seconds(), default=1.0, help="Seconds for the answer.")
@client_options
def health(address: str, live: bool, service: str, timeout: float, **security: str | None) -> None:
    """Asks a server how it is (grpc.health.v1), and says it by the exit code.

    0: it serves; with --live, it answers. 1: it answers, but does not serve. 2: the command line is wrong. 3: no answer came in
    time. 4: it refuses what it was shown: a token or a certificate is missing or wrong.

    A server with TorchServe's own keys is shown the one of its key_file.json, which --token-file takes as well.
    """
    if problem := address_problem(address):
        give_up(PROGRAM, problem)
    try:
        asking = _call(security)
    except Unavailable as error:  # the file of keys is about to come
        ending, words = Ending.NO_ANSWER, str(error)
    except (PersiaError, OSError) as error:
        give_up(PROGRAM, str(error))
    else:
        ending, words = ask_health(asking, address, service, timeout)
    if live and ending in (Ending.NOT_SERVING, Ending.REFUSED):
        # Whoever restarts a server that loads, or whose probe has an old token, only makes it worse.
        words = f"it answers{', and refuses what it was shown' if ending is Ending.REFUSED else ''}: {words}"
        ending = Ending.HEALTHY
    click.echo(f"{address}: {words.removeprefix(f'{address}: ')}", err=ending is not Ending.HEALTHY)
    sys.exit(ending)


def _call(options: dict[str, str | None]) -> HealthCall:
    """Raises PersiaError, OSError."""
    file = options["token_file"]
    if file is not None and has_keys(file):
        return KeyedCall(file, msgspec.structs.replace(security_of(**{**options, "token_file": None}), token=None))
    try:
        return PlainCall(security_of(**options))
    except ConfigError as error:
        if file is None or error.path != "$.security.token":
            raise
        raise ConfigError(f"{error.problem}; as for a model server's own keys, give its {KEY_FILE}", error.path) from None


def ask_health(asking: HealthCall, address: str, service: str, seconds: float) -> tuple[Ending, str]:
    """How it is, and in words."""
    try:
        status = asking.ask(address, service, seconds)
    except (Unavailable, DeadlineExceeded) as error:
        return Ending.NO_ANSWER, str(error)
    except NotFound as error:
        return Ending.NOT_SERVING, str(error)
    except PersiaError as error:
        return Ending.REFUSED, str(error)
    fit = status == health_pb2.HealthCheckResponse.SERVING
    return Ending.HEALTHY if fit else Ending.NOT_SERVING, health_pb2.HealthCheckResponse.ServingStatus.Name(status)
