"""A user's config.properties: what TorchServe would ignore, or end with, said before it is started."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from persia.checking.report import Report
from persia.checking.torchserve_keys import ADDRESSES, BOOLEANS, FILES, KNOWN, METRICS_MODES, NUMBERS, PER_MODEL, advice_for
from persia.torchserve.java_properties import Entry, read_properties

__all__ = ["check_torchserve_config"]

_AREA = "config.properties"
_ADDRESS = re.compile(r"(?:(https|http)://([^:^/]+)(?::([0-9]+))?)|(?:unix:(/.*))")
_WEB_PORTS = {"http": 80, "https": 443}
_GRPC_PORTS = {"grpc_inference_port": "7070", "grpc_management_port": "7071"}
_MOST_PORT = 65_535
_MOST = 2**31 - 1  # of the numbers, all of which are Java's int
_SHOWN = 60  # characters of a value
_VARIABLE = re.compile(r"\$\$([^$]+[^$])\$\$")


def check_torchserve_config(report: Report, path: Path, home: str = "TorchServe") -> Mapping[str, str]:
    """Lines for what is wrong with the file, and one if nothing is. Returns the values as TorchServe reads them.

    home: who is to be started with it, for people; TorchServe's own rules are what counts.
    """
    try:
        entries = read_properties(path)
    except OSError as error:
        report.fail(_AREA, str(path), error.strerror or str(error), "name a file that can be read")
        return {}
    found = len(report.findings)
    given: dict[str, Entry] = {}
    for entry in entries:
        if entry.key in given:
            text = f"{entry.key} stands in line {given[entry.key].line}, too: that one does not count"
            report.warn(_AREA, f"line {entry.line}", text, "take one of them out")
        given[entry.key] = entry
    values = {key: _with_variables(report, entry) for key, entry in given.items()}
    for key, entry in given.items():
        _check_entry(report, entry._replace(value=values[key]))
    _check_ports(report, given, values)
    _check_certificates(report, given, values)
    _check_models(report, given, values)
    _check_tokens(report, path, given, home)
    if len(report.findings) == found:
        report.ok(_AREA, str(path), f"{len(given)} keys, all of which TorchServe reads", keys=len(given))
    return values


def _with_variables(report: Report, entry: Entry) -> str:
    """The value as TorchServe reads it, with `$$NAME$$` replaced from the environment."""

    def value_of(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            text = f"{entry.key} names the environment variable {found[1]}, which is not set here: TorchServe would end"
            report.fail(_AREA, f"line {entry.line}", text, f"set {found[1]} where TorchServe is started, or write the value")
        return os.environ.get(found[1], found[0])

    return _VARIABLE.sub(value_of, entry.value)


def _check_entry(report: Report, entry: Entry) -> None:
    """A key and its value by themselves."""
    key, value, place = entry.key, entry.value, f"line {entry.line}"
    if key not in KNOWN:
        report.warn(_AREA, place, f"TorchServe has no key {key} and ignores it", advice_for(key))
    elif value != value.strip():
        advice = "Java takes the blanks after a value as part of it: take them out"
        report.fail(_AREA, place, f"expected {key}={value.strip()} without blanks after it", advice)
    elif not value:
        report.warn(_AREA, place, f"{key} has no value, which says nothing", f"take it out, or write a value: {_example(key)}")
    elif key in ADDRESSES and (problem := _address_problem(value)):
        report.fail(_AREA, place, f"{key}: {problem}, got {_shown(value)}: TorchServe would end", _address_advice(key, value))
    elif key in NUMBERS and not NUMBERS[key] <= _number(value) <= _MOST:
        advice = "TorchServe would end, or take its default without a word"
        wanted = f"a whole number of at least {NUMBERS[key]}" if _number(value) <= _MOST else f"a number up to {_MOST}"
        report.fail(_AREA, place, f"expected {wanted} as {key}, got {_shown(value)}", advice)
    elif key in BOOLEANS and value.lower() not in ("true", "false"):
        report.warn(
            _AREA, place, f"expected true or false as {key}, got {_shown(value)}", "whatever is not `true` counts as false"
        )
    elif key in FILES and not Path(value).is_file():
        report.fail(
            _AREA, place, f"{key}: expected a file, got {value}", "name one that is there, from where TorchServe starts"
        )
    elif key == "metrics_mode" and value.lower() not in METRICS_MODES:
        text = f"expected {', '.join(METRICS_MODES)} as metrics_mode, got {value}"
        report.warn(_AREA, place, text, "TorchServe takes log")
    elif key == "model_store" and not Path(value).is_dir():
        report.warn(_AREA, place, f"model_store: there is no directory {value} here", "--model-store goes before it")


def _number(text: str) -> int:
    """-1 for what is none. One of more digits than Java has is above every limit."""
    if not text.isascii() or not text.isdigit():
        return -1
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(_MOST)) else _MOST + 1


def _shown(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}... ({len(value)} characters)"


def _example(key: str) -> str:
    if key == "models":
        return 'models={"NAME": {"1.0": {"marName": "NAME.mar", "minWorkers": 1, "maxWorkers": 1, "batchSize": 8}}}'
    return f"{key}={ADDRESSES.get(key, 'all' if key == 'load_models' else '...')}"


def _address_problem(value: str) -> str:
    """Empty: there is none."""
    match = _ADDRESS.fullmatch(value)
    if match is None:
        return "expected http://HOST:PORT, https://HOST:PORT or unix:/PATH"
    return f"expected a port up to {_MOST_PORT}" if match[3] and _number(match[3]) > _MOST_PORT else ""


def _address_advice(key: str, value: str) -> str:
    """The address that was meant, as far as it can be told; for management this machine's alone."""
    meant = re.fullmatch(r"(?:(https?)://)?([^:/]+)[:/]([0-9]+)/?", value)
    known = meant is not None and _number(meant[3]) <= _MOST_PORT
    if key == "management_address":
        port = meant[3] if meant is not None and known else "8081"
        return f"write http://127.0.0.1:{port}, for this machine alone: who reaches it can run code"
    if meant is None or not known:
        return "write http://0.0.0.0:8080 for all interfaces, http://127.0.0.1:8080 for this machine alone"
    keys = " (https needs certificate_file and private_key_file, or keystore)" if meant[1] == "https" else ""
    return f"write http://{meant[2]}:{meant[3]}{keys}"


def _check_ports(report: Report, given: Mapping[str, Entry], values: Mapping[str, str]) -> None:
    """What listens on the port of another cannot start. Only inference and management may be one listener."""
    taken: dict[str, str] = {}
    for key, usual in (ADDRESSES | _GRPC_PORTS).items():
        if key == "metrics_address" and values.get("enable_metrics_api", "").lower() == "false":
            continue
        value = values.get(key, usual).strip()
        port = _port_of(value)
        if port is None:
            continue
        other = taken.setdefault(port, key)
        if other == key:
            continue
        line = max(given[name].line for name in (key, other) if name in given)  # one is: the usual ports differ
        if {key, other} == {"inference_address", "management_address"} and value == values.get(other, ADDRESSES[other]):
            advice = "give management a port of its own, on 127.0.0.1: who reaches it can run code"
            report.warn(_AREA, f"line {line}", f"{other} and {key} are the same, {value}", advice)
        else:
            text = f"{other} and {key} both listen on port {port}: the second one could not"
            usuals = {**ADDRESSES, **_GRPC_PORTS}
            unset = [f" ({name} is {usuals[name]} unless it is given)" for name in (other, key) if name not in given]
            report.fail(_AREA, f"line {line}", text, f"give each a port of its own{''.join(unset)}")


def _port_of(value: str) -> str | None:
    """Of an address its port, or the path of its socket; of a port itself. None: it is wrong, or 0, which is any free one."""
    match = _ADDRESS.fullmatch(value)
    if match is None:
        return value if _number(value) > 0 else None
    port = match[4] or match[3] or str(_WEB_PORTS[match[1]])
    return port if port != "0" else None


def _check_certificates(report: Report, given: Mapping[str, Entry], values: Mapping[str, str]) -> None:
    """TLS needs a key: without one TorchServe tries to make one, with a library that it does not come with."""
    has_key = "keystore" in values or {"private_key_file", "certificate_file"} <= values.keys()
    secure = [key for key in ADDRESSES if values.get(key, "").startswith("https://") and not _address_problem(values[key])]
    if values.get("enable_grpc_ssl", "").lower() == "true":
        secure.append("enable_grpc_ssl")
        has_key = has_key and "private_key_file" in values  # gRPC takes no keystore
    if secure and not has_key:
        text = f"{' and '.join(secure)}: expected certificate_file and private_key_file, or keystore, for TLS, got none"
        report.fail(_AREA, f"line {given[secure[0]].line}", text, "add them, or write http:// behind a proxy that has them")


def _check_models(report: Report, given: Mapping[str, Entry], values: Mapping[str, str]) -> None:
    """Which models are loaded at the start."""
    store = Path(values.get("model_store", ""))
    if values.get("models", "").strip():
        place = f"line {given['models'].line}"
        _check_settings_of_models(report, place, values["models"], store if "model_store" in values else None)
    wanted = values.get("load_models", "").strip()
    if wanted in ("", "all", "none") or "model_store" not in values or not store.is_dir():
        return
    for part in wanted.split(","):
        name = part.strip().rpartition("=")[2]
        if name and "://" not in name and not (store / name).exists():
            text = f"load_models: there is no {name} in {store}: TorchServe would start without it"
            report.fail(_AREA, f"line {given['load_models'].line}", text, "name a .mar file of the store, or `all`")


def _check_tokens(report: Report, path: Path, given: Mapping[str, Entry], home: str) -> None:
    """TorchServe 0.12 asks for tokens where guides, which are older, send none; and the model server does as it does."""
    if "disable_token_authorization" not in given:
        report.warn(
            _AREA,
            str(path),
            f"disable_token_authorization is missing: {home} refuses each request without a token, with 400 over REST and "
            "PERMISSION_DENIED over gRPC",
            "send the tokens of the key_file.json that it writes where it starts, or write disable_token_authorization=true if "
            "nobody else reaches its addresses",
        )


def _check_settings_of_models(report: Report, place: str, text: str, store: Path | None) -> None:
    """store: None if the file names none."""
    try:
        models = json.loads(text)
        versions = [(name, version, of) for name, each in models.items() for version, of in each.items()]
        settings = [(f"{name} {version}", key, value) for name, version, of in versions for key, value in of.items()]
    except (ValueError, AttributeError, RecursionError) as error:
        wanted = '{"NAME": {"1.0": {"marName": "NAME.mar", ...}}}'
        report.fail(
            _AREA, place, f"models: expected JSON such as {wanted}: {error}", "a value of several lines needs a \\ at each end"
        )
        return
    for name, version, of in versions:
        if "marName" not in of:
            report.fail(_AREA, place, f"models: {name} {version} has no marName", "name its archive: TorchServe skips it else")
        elif store is not None and store.is_dir() and not (store / str(of["marName"])).exists():
            said = f"models: {name} {version}: there is no {of['marName']} in {store}: TorchServe would not load the model"
            report.fail(_AREA, place, said, "put the archive into the store, or write its name as it is there")
    for model, key, value in settings:
        if key not in PER_MODEL:
            advice = f"known are {', '.join(PER_MODEL)}; other settings stand in the archive's model-config.yaml"
            report.warn(_AREA, place, f"models: {model}: TorchServe has no setting {key} and ignores it", advice)
        elif PER_MODEL[key] and (type(value) is not int or value < 1):
            text = f"models: {model}: expected a positive number as {key}, got {_shown(repr(value))}"
            report.fail(_AREA, place, text, "TorchServe would start without this model")
