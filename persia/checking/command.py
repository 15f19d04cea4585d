"""`persia-launcher check`: what would go wrong, told from the files alone, before anything is served."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import click
import numpy as np

from persia.checking.archives import check_archive, find_archives, judges_dense
from persia.checking.default_rows import default_signs
from persia.checking.machine import check_machine, check_ports
from persia.checking.memory import check_capacity, check_memory
from persia.checking.report import Report
from persia.checking.samples import Sample, check_numbers, check_sample, read_sample
from persia.checking.scan import Scan, scan
from persia.checking.subject import Subject, read_subject
from persia.checking.tables import check_rows
from persia.checking.torchserve_config import check_torchserve_config
from persia.config import EMBEDDING_CONFIG_VARIABLE, GLOBAL_CONFIG_VARIABLE
from persia.errors import PersiaError
from persia.seconds import Seconds
from persia.storage import Place
from persia.storage.arguments import DIRECTORY
from persia.storage.model_store import local_model_store

__all__ = ["check"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PORT = click.IntRange(0, 65_535)
_EVER = 1e9  # seconds
HOMES = {"torchserve": "TorchServe 0.12", "model-server": "the model server"}  # by the name of the command
TORCHSERVE_STATE = Path("ts", "models.json")  # as persia.torchserve.state has it, without grpc


@click.command(context_settings={"show_default": True})
@click.option("--global-config", envvar=GLOBAL_CONFIG_VARIABLE, show_envvar=True, type=click.Path(path_type=Path))
@click.option("--embedding-config", envvar=EMBEDDING_CONFIG_VARIABLE, show_envvar=True, type=click.Path(path_type=Path))
@click.option("--checkpoint", help="In the place of the global config's: a directory, or a URL as s3://bucket/path.")
@click.option("--shards", type=click.IntRange(1), default=1, help="How many embedding servers, if the config names none.")
@click.option("--model-store", type=DIRECTORY, help="TorchServe's: a directory, or a URL as s3://bucket/path.")
@click.option("--models", default="all", help="Archives of the store, with commas between them.")
@click.option("--archive", "archives", type=_FILE, multiple=True, help="One more archive; any number of times.")
@click.option("--ts-config", type=_FILE, help="A config.properties of TorchServe's; alone, nothing else is looked at.")
@click.option("--front", type=click.Choice(list(HOMES)), default="torchserve", help="Who is started with --ts-config.")
@click.option("--sample", type=_FILE, help="Requests to try: a byte batch (.bin), or another file that `infer` reads.")
@click.option("--time-limit", type=Seconds(), default=10.0, help="Seconds for reading rows; then figures are estimates.")
@click.option("--full", is_flag=True, help="Read all rows, however long it takes.")
@click.option("--middleware-port", type=_PORT, default=8887, help="That is to be free; 0: any.")
@click.option(
    "--port", type=_PORT, default=7070, help="TorchServe's, for inference; 0: any. A model server's stands in --ts-config."
)
@click.option("--management-port", type=_PORT, default=7071, help="TorchServe's, for management; 0: any.")
@click.option("--state", type=click.Path(path_type=Path), help="Where logs will be.  [default: the temporary directory]")
@click.option("--ports-must-be-free", is_flag=True, help="Taken ports are failures: everything is to be started here, now.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are warnings.")
@click.option("--problems-only", is_flag=True, help="Print nothing that is as it should be.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    global_config: Path | None,
    embedding_config: Path | None,
    checkpoint: str | None,
    shards: int,
    model_store: Place | None,
    models: str,
    archives: tuple[Path, ...],
    ts_config: Path | None,
    front: str,
    sample: Path | None,
    time_limit: float,
    full: bool,
    middleware_port: int,
    port: int,
    management_port: int,
    state: Path | None,
    ports_must_be_free: bool,
    strict: bool,
    problems_only: bool,
    as_json: bool,
) -> None:
    """Look at a deployment before it serves: configs, checkpoint, packets, archives, a sample, and this machine.

    Exits with 0 if nothing is wrong or there are only warnings, with 1 if there are warnings and --strict is given, and with 2
    if something is wrong: scores would be wrong, or a process would not start.
    """
    report = Report()
    if ports_must_be_free:  # somebody who starts it right after this says himself when it is ready
        report.praise = "nothing in the way of a start"
    values: Mapping[str, str] = {}
    if ts_config is not None:
        values = check_torchserve_config(report, ts_config, HOMES[front])
        if not any((global_config, embedding_config, checkpoint, model_store, archives, sample)):
            report.praise = f"nothing wrong in {ts_config.name}"
            _end(report, strict=strict, problems_only=problems_only, as_json=as_json)
    subject = read_subject(report, global_config, embedding_config, checkpoint, shards)
    asked = read_sample(report, sample, subject.embedding_config) if sample and subject.embedding_config else None
    scanned = _scan(subject, asked, _EVER if full else time_limit)
    if scanned is not None and subject.embedding_config is not None:
        check_rows(report, subject.embedding_config, scanned)
        check_capacity(report, subject, scanned)
        if asked is not None:
            check_sample(report, asked, scanned)
    store = _archives(report, model_store)
    restored = state is not None and (state / TORCHSERVE_STATE).exists()
    paths = find_archives(report, store, models, archives, restored)
    opened = [check_archive(report, path, subject.embedding_config, asked, scanned) for path in paths]
    if asked is not None and not (opened and all(archive is not None and judges_dense(archive) for archive in opened)):
        check_numbers(report, asked)
    check_memory(report, subject, scanned, [archive for archive in opened if archive is not None])
    others = {"middleware": f"127.0.0.1:{middleware_port}"}
    if model_store is not None:
        others |= _home_addresses(front, values, port, management_port)
    check_ports(report, subject, others, ports_must_be_free)
    needs_java = front == "torchserve" and bool(model_store or archives)
    check_machine(report, state or Path(tempfile.gettempdir()), needs_java)
    _end(report, strict=strict, problems_only=problems_only, as_json=as_json)


def _end(report: Report, *, strict: bool, problems_only: bool, as_json: bool) -> NoReturn:
    click.echo(report.to_json() if as_json else "\n".join(report.lines(problems_only)))
    sys.exit(report.exit_code(strict))


def _archives(report: Report, model_store: Place | None) -> Path | None:
    """The directory in which they are, or have been fetched to."""
    if model_store is None:
        return None
    try:
        return local_model_store(model_store)
    except (PersiaError, OSError) as error:
        report.fail("archive", str(model_store), str(error), "put archives there, or name another --model-store")
        return None


def _home_addresses(front: str, values: Mapping[str, str], port: int, management_port: int) -> dict[str, str]:
    """Where the home of handlers listens for gRPC. values: of its config, in which alone the ports of a model server stand."""
    home, own = ("TorchServe", {}) if front == "torchserve" else ("the model server", values)
    ports = {"grpc_inference_port": port, "grpc_management_port": management_port}
    inference, management = (int(own[key]) if own.get(key, "").isdecimal() else usual for key, usual in ports.items())
    return {home: f"127.0.0.1:{inference}", f"{home}'s management": f"127.0.0.1:{management}"}


def _scan(subject: Subject, sample: Sample | None, seconds: float) -> Scan | None:
    """Reads the rows, if it is known what they are to be."""
    config = subject.embedding_config
    if config is None or (subject.checkpoint is None and not subject.packets):
        return None
    groups = len({slot.group for slot in config.slots.values() if not slot.ids_are_signs})
    defaults = np.array(list(default_signs(config).values()), np.uint64)
    wanted = np.union1d(defaults, sample.wanted) if sample is not None else np.unique(defaults)
    files = (*subject.checkpoint.files, *subject.checkpoint.ends) if subject.checkpoint is not None else ()
    bits = config.feature_index_prefix_bit
    at_hand = subject.checkpoint.at_hand if subject.checkpoint is not None else nullcontext
    return scan(files, subject.packets, bits, groups, wanted, seconds, subject.workers, at_hand)
