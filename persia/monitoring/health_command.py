"""`persia-launcher health HOST:PORT`: the health of one server as an exit code, for probes."""

from __future__ import annotations

import sys
from enum import IntEnum

import click
from grpc_health.v1 import health_pb2

from persia.cli.failures import give_up
from persia.cli.security_options import client_options, security_of
from persia.config.servers import address_problem
from persia.errors import DeadlineExceeded, NotFound, PersiaError, Unavailable
from persia.rpc.call import call
from persia.rpc.wire import HEALTH_CHECK
from persia.seconds import Seconds
from persia.security import ClientSecurity

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
    """
    if problem := address_problem(address):
        give_up(PROGRAM, problem)
    try:
        client = ClientSecurity(security_of(**security))
    except (PersiaError, OSError) as error:
        give_up(PROGRAM, str(error))
    ending, words = ask_health(address, service, timeout, client)
    if live and ending in (Ending.NOT_SERVING, Ending.REFUSED):
        # Whoever restarts a server that loads, or whose probe has an old token, only makes it worse.
        ending = Ending.HEALTHY
    click.echo(f"{address}: {words}", err=ending is not Ending.HEALTHY)
    sys.exit(ending)


def ask_health(address: str, service: str, seconds: float, security: ClientSecurity) -> tuple[Ending, str]:
    """How it is, and in words."""
    try:
        answer = call(address, HEALTH_CHECK, health_pb2.HealthCheckRequest(service=service), seconds, security)
        status = health_pb2.HealthCheckResponse.FromString(answer).status
    except (Unavailable, DeadlineExceeded) as error:
        return Ending.NO_ANSWER, str(error)
    except NotFound as error:
        return Ending.NOT_SERVING, str(error)
    except PersiaError as error:
        return Ending.REFUSED, str(error)
    fit = status == health_pb2.HealthCheckResponse.SERVING
    return Ending.HEALTHY if fit else Ending.NOT_SERVING, health_pb2.HealthCheckResponse.ServingStatus.Name(status)
