"""How a TorchServe is to run, and the files that say so to it: config.properties, log4j2.xml, the command line of the JVM."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

from persia.config import EMBEDDING_CONFIG_VARIABLE, GLOBAL_CONFIG_VARIABLE
from persia.errors import InvalidInput
from persia.rpc.wire import MAX_MESSAGE_BYTES
from persia.torchserve.java_properties import properties_text
from persia.torchserve.settings import MAX_ANSWER_VARIABLE
from persia.torchserve.state import KEY_FILE, LOCK_FILE, MODELS_FILE, NOTE_SOCKET

__all__ = ["Directories", "Options", "command", "environment", "log4j2", "properties"]

# 4 million ids. Our own servers take four times as much; here every request lies in the JVM's heap some three times, and a
# heap that is full takes all requests down.
DEFAULT_MESSAGE_BYTES = 64 << 20
# A queue of the largest requests still fits; smaller heaps were not tried.
HEAP_PER_MESSAGE_BYTE = 16

# Not less than the archives' own responseTimeout: it is for archives without a model-config.yaml.
RESPONSE_SECONDS = 60
YEAR_MINUTES = 365 * 24 * 60
SOCKET_PATH_BYTES = 107  # what an address of a unix socket has room for
LONGEST_SOCKET = "/.ts.sock.65535"
_CONFIG_VARIABLES = (GLOBAL_CONFIG_VARIABLE, EMBEDDING_CONFIG_VARIABLE)


@dataclass(frozen=True)
class Options:
    """port, management_port, health_port: of gRPC, 0 for any free one.

    http_port, http_management_port: none are opened unless given.
    """

    model_store: Path
    models: Sequence[tuple[str, str]]  # names under which models are registered, and their files in the model store
    host: str = "127.0.0.1"
    port: int = 7070
    management_port: int = 7071
    health_port: int = 7072  # of the launcher, not of TorchServe
    http_port: int | None = None
    http_management_port: int | None = None
    workers: int = 1
    threads: int = 1
    queue: int = 100
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    heap: str | None = None  # of the JVM, such as 2g; HEAP_PER_MESSAGE_BYTE x max_message_bytes unless given, at least 1 GiB
    tokens: bool = True
    model_api: bool = True
    user_properties: Mapping[str, str] = field(default_factory=dict)  # of a user's config.properties

    def __post_init__(self) -> None:
        if self.max_message_bytes > MAX_MESSAGE_BYTES:
            raise InvalidInput(
                f"expected messages of at most {MAX_MESSAGE_BYTES} bytes, which the servers behind TorchServe take, "
                f"got {self.max_message_bytes}"
            )
        if not self.tokens and self.model_api:
            raise InvalidInput("without tokens anyone who reaches the port could run code: switch the model API off as well")


@dataclass(frozen=True)
class Directories:
    """What one TorchServe has for itself. state: holds all the others, and the key file."""

    state: Path

    @property
    def temp(self) -> Path:
        return self.state / "tmp"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def key_file(self) -> Path:
        """Where callers find the tokens, once all is as it is to be: without them nobody is answered before."""
        return self.state / KEY_FILE

    @property
    def work(self) -> Path:
        """Where the JVM runs, and writes its key file."""
        return self.temp / "work"

    @property
    def http_management(self) -> Path:
        return self.temp / "http_management"

    @property
    def models(self) -> Path:
        return self.state / MODELS_FILE

    @property
    def note_socket(self) -> Path:
        return self.state / NOTE_SOCKET

    @property
    def config(self) -> Path:
        return self.state / "config.properties"

    @property
    def lock(self) -> Path:
        return self.state / LOCK_FILE  # nobody else's has this name: whose directory it is, is told by it

    @property
    def log_config(self) -> Path:
        return self.state / "log4j2.xml"

    def make(self) -> None:
        """Makes them, for this user alone. Raises InvalidInput if they are somebody else's, or too long a path for sockets."""
        if len(os.fsencode(self.temp)) + len(LONGEST_SOCKET) > SOCKET_PATH_BYTES:
            raise InvalidInput(f"expected a shorter path for the sockets of the workers than {self.temp}")
        # What is in it will be deleted, and nobody else may enter.
        if self.state.is_dir() and not self.lock.exists() and any(self.state.iterdir()):
            raise InvalidInput(f"the state directory {self.state} has files of others in it: choose an empty or new directory")
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock.touch(0o600)  # before all else: whoever is killed here finds a directory of its own the next time
        for directory in (self.state, self.temp, self.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)


def properties(options: Options, directories: Directories) -> str:
    """config.properties. HTTP listeners cannot be switched off: unless asked for, they are sockets in a private directory."""
    settings = {
        "inference_address": _http(options.host, options.http_port, directories.temp / "http"),
        "management_address": _http("127.0.0.1", options.http_management_port, directories.http_management),
        "enable_metrics_api": "false",
        "grpc_inference_address": options.host,
        "grpc_inference_port": options.port,
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": options.management_port,
        "model_store": options.model_store,
        "load_models": ",".join(f"{name}={file}" for name, file in options.models),
        "default_workers_per_model": options.workers,
        "default_response_timeout": RESPONSE_SECONDS,
        "job_queue_size": options.queue,
        "max_request_size": options.max_message_bytes,
        # A worker whose answer is larger is killed for it.
        "max_response_size": options.max_message_bytes,
        "allowed_urls": "none",
        "enable_model_api": str(options.model_api).lower(),
        "disable_token_authorization": str(not options.tokens).lower(),
        # The keys are new with each start. TorchServe's hour would end a service that runs well.
        "token_expiration_min": 10 * YEAR_MINUTES,
        "disable_system_metrics": "true",  # else a Python process each minute
        "install_py_dep_per_model": "false",
        **options.user_properties,
    }
    return properties_text({key: str(value) for key, value in settings.items() if str(value)})


def _http(host: str, port: int | None, path: Path) -> str:
    return f"unix:{path}" if port is None else f"http://{host}:{port}"


def log4j2(directories: Directories) -> str:
    """Warnings of the front end, and all that workers print, tracebacks first of all; not five kilobytes per request."""

    def file(name: str, keep: str = "") -> str:
        path, older = (quoteattr(str(directories.logs / f"{name}.{suffix}")) for suffix in ("log", "%i.log"))
        return (
            f'<RollingFile name="{name}" fileName={path} filePattern={older}>'
            f'<PatternLayout pattern="%d{{ISO8601}} [%-5p] %t %c - %m%n"/>{keep}'
            '<Policies><SizeBasedTriggeringPolicy size="50 MB"/></Policies><DefaultRolloverStrategy max="5"/></RollingFile>'
        )

    per_request = '<RegexFilter regex="Backend (received inference|response time).*" onMatch="DENY" onMismatch="NEUTRAL"/>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Configuration status="warn"><Appenders>'
        f"{file('ts_log')}{file('model_log', per_request)}</Appenders>"
        '<Loggers><Logger name="ACCESS_LOG" level="off"/><Logger name="TS_METRICS" level="off"/>'
        '<Logger name="MODEL_METRICS" level="off"/>'
        '<Logger name="MODEL_LOG" level="info" additivity="false"><AppenderRef ref="model_log"/></Logger>'
        '<Logger name="io.netty" level="error"/><Logger name="org.apache" level="off"/>'
        '<Root level="warn"><AppenderRef ref="ts_log"/></Root></Loggers></Configuration>\n'
    )


def command(java: str, ts_home: Path, python: str, options: Options, directories: Directories) -> list[str]:
    """The JVM itself rather than the `torchserve` wrapper, which passes no signals on."""
    heap = options.heap or f"{max(1 << 30, HEAP_PER_MESSAGE_BYTE * options.max_message_bytes) >> 20}m"
    parallelism = max(4, (os.cpu_count() or 1) - 1)
    return [
        java,
        f"-Xmx{heap}",
        # A frontend whose memory is full answers nothing and does not end by itself.
        "-XX:+ExitOnOutOfMemoryError",
        # On one or two cores JDK 17's pool has no threads, and makes a new one for each request.
        f"-Djava.util.concurrent.ForkJoinPool.common.parallelism={parallelism}",
        f"-Dlog4j.configurationFile={directories.log_config.as_uri()}",
        f"-Dmodel_server_home={ts_home}",
        f"-Djava.io.tmpdir={directories.temp}",
        *("-cp", str(ts_home / "ts" / "frontend" / "*")),
        "org.pytorch.serve.ModelServer",
        *("--python", python, "-f", str(directories.config), "-s", str(options.model_store), "-ncs"),
    ]


def environment(options: Options, directories: Directories) -> dict[str, str]:
    """That of this process, without what would take the place of our configuration; workers inherit it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TS_")}
    kept |= dict.fromkeys(("TEMP", "TMPDIR"), str(directories.temp))
    kept |= dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(directories.logs))
    # An archive of `--runtime python3` gets workers of the first python3 here, which has to be this one.
    kept["PATH"] = os.pathsep.join(filter(None, [os.path.dirname(os.path.abspath(sys.executable)), kept.get("PATH")]))
    # A worker's directory is its unpacked archive, where a path that is good here leads nowhere.
    kept |= {key: os.path.abspath(path) for key in _CONFIG_VARIABLES if (path := kept.get(key))}
    # Our handler refuses an answer that TorchServe would kill its worker for.
    kept[MAX_ANSWER_VARIABLE] = str(options.max_message_bytes >> 20)
    # Workers are the way to use more cores: each of them with all cores would only be in the others' way.
    return kept | {"OMP_NUM_THREADS": str(options.threads)}
