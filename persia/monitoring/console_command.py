"""`persia-launcher console`: a page that shows what a deployment does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from persia.cli.failures import give_up
from persia.cli.log_lines import log_format_option, log_to_stderr
from persia.cli.security_options import client_options, security_of
from persia.config import GlobalConfig, load_global_config
from persia.config.listening import check_listen
from persia.config.servers import address_problem
from persia.drift.overview import Asked
from persia.errors import ConfigError, PersiaError
from persia.monitoring.asking import Asker
from persia.monitoring.console import Console, Source
from persia.monitoring.drift_entries import drift_entries
from persia.security import ClientSecurity, ServerSecurity
from persia.system.address import join_address
from persia.system.signals import StopSignal
from persia.torchserve.management import Management
from persia.torchserve.tokens import Tokens

__all__ = ["console"]

log = logging.getLogger("console")

PROGRAM = "console"


@click.command(context_settings={"show_default": True})
@click.option("--middleware", "middlewares", multiple=True, help="HOST:PORT of one, which names its shards. May be repeated.")
@click.option("--models", "homes", multiple=True, help="HOST:PORT of a model server's or TorchServe's management over gRPC.")
@click.option("--models-token-file", type=click.Path(path_type=Path), help="The key_file.json of those.")
@click.option("--drift-state", type=click.Path(path_type=Path), help="What the watch for drift writes to.")
@click.option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8890, help="0: any free one, which the log names.")
@click.option("--every", type=click.FloatRange(0.1, 3600), default=2.0, help="Seconds between two rounds of questions.")
@log_format_option
@client_options
def console(
    middlewares: tuple[str, ...],
    homes: tuple[str, ...],
    models_token_file: Path | None,
    drift_state: Path | None,
    host: str,
    port: int,
    every: float,
    log_format: str,
    **security: str | None,
) -> None:
    """Shows a deployment as a page: shards, replicas, epochs, freshness, latencies, misses, models, drift.

    It asks middlewares, and the servers that they name; without a middleware, the servers of the global config. It changes
    nothing. Who wants to see the values shows the token or certificate that the servers of this config want.
    """
    log_to_stderr("info", log_format)
    stop = StopSignal()
    try:
        for address in (*middlewares, *homes):
            if problem := address_problem(address):
                raise ConfigError(problem, "$")
        config = load_global_config(security["global_config"]) if security["global_config"] else GlobalConfig()
        section = security_of(**security)
        servers = config.common_config.infer_config.servers
        if not (middlewares or servers or homes or drift_state):
            give_up(PROGRAM, "expected somebody to ask: --middleware, --global-config with `servers`, --models, --drift-state")
        check_listen(join_address(host.strip("[]"), port), section)
        asker = Asker(servers, middlewares, ClientSecurity(section))
        sources = _sources(homes, models_token_file, drift_state)
        shown = Console(asker, sources, every, (host.strip("[]"), port), section, ServerSecurity(section).guard)
    except (PersiaError, OSError) as error:
        give_up(PROGRAM, str(error))
    shown.start()
    scheme = "http" if section.certificate is None else "https"
    log.info("the console is at %s://%s/", scheme, join_address(host, shown.port))
    stop.serving()
    stop.wait()
    shown.close()


def _sources(homes: Sequence[str], token_file: Path | None, drift_state: Path | None) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    if homes:
        tokens = Tokens(file=token_file)
        management = {home: Management(home, tokens, timeout=2.0) for home in homes}
        sources["models"] = lambda: [entry for home, one in management.items() for entry in _models(home, one)]
    if drift_state is not None:
        asked = Asked(drift_state)
        sources["drift"] = lambda: drift_entries(asked)
    return sources


def _models(home: str, management: Management) -> list[dict[str, Any]]:
    """Those of one home, or why it does not tell."""
    try:
        found = management.list()
    except PersiaError as error:
        return [{"home": home, "problem": str(error)}]
    return [
        {
            "home": home,
            "name": model.name,
            "version": model.version,
            "is_default": model.is_default,
            "ready": model.ready,
            "workers": len(model.workers),
            "least": model.min_workers,
            "archive": model.archive,
        }
        for model in found
    ]
