"""`make console-test`: the console over many shards in a real Chromium, which takes pictures and is read for what it shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec
import numpy as np

from persia.config import SecurityConfig
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.service import EmbeddingService
from persia.embedding_server.shard import ShardServer
from persia.monitoring.asking import Asker
from persia.monitoring.console import Console
from persia.rpc.service import native_replica
from persia.rpc.wire import LOOKUP
from persia.security import ClientSecurity
from persia.serving.server import Server
from persia.signs import hash_string, shard_of
from persia.v1 import embedding_pb2 as pb
from persia.writers import write_checkpoint
from tests.support.servers import wait_until

DIM = 8
FEATURES = ("user", "item", "shop", "query")


class Shards:
    """Embedding servers in this process, each with its rows, its port, and lookups."""

    def __init__(self, directory: Path, count: int, stack: ExitStack) -> None:
        signs = np.arange(200 * count, dtype=np.uint64)
        write_checkpoint(directory / "ckpt", [(signs, np.ones((len(signs), DIM), np.float32))], shards=count, files_per_shard=1)
        self.addresses = []
        for index in range(count):
            shard = ShardServer(ShardOptions(index, count, directory / "ckpt", dims=dict.fromkeys(FEATURES, DIM)))
            stack.callback(shard.stop)
            shard.load()
            server = Server([], workers=1, threads=1)
            EmbeddingService(shard).add_to(server)
            self.addresses.append(server.listen("127.0.0.1:0"))
            server.start()
            stack.callback(server.stop, 0)
        self._replicas = [native_replica(address, "localhost", None) for address in self.addresses]
        for replica in self._replicas:
            stack.callback(replica.close)

    def look_up(self, rounds: int) -> None:
        """Each round asks each shard once for ids of each feature; one in eight is new, and of `query` one in two."""
        random = np.random.default_rng(1)
        count = len(self._replicas)
        signs = np.arange(400 * count, dtype=np.uint64)
        of_shard = [signs[shard_of(signs, count) == index] for index in range(count)]
        for _ in range(rounds):
            for index, replica in enumerate(self._replicas):
                known, new = np.split(of_shard[index], [np.searchsorted(of_shard[index], 200 * count)])
                asked = [
                    np.concatenate([random.choice(known, 25 - unknown), random.choice(new, unknown)])
                    for unknown in (3, 3, 3, 12)
                ]
                parts = [[hash_string(name) & 0xFFFFFFFF, 0, DIM, 1, 25, 0] for name in FEATURES]
                request = pb.LookupRequest(parts=np.array(parts, np.uint32).tobytes(), signs=np.concatenate(asked).tobytes())
                replica.call(LOOKUP, request.SerializeToString(), 5.0)


def browse(url: str, width: int, height: int, *arguments: str) -> str:
    """What Chromium says when it has shown the page for some seconds of its own time."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise click.ClickException("there is no Chromium: apt-get install chromium")
    command = [
        program,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
    ]
    command += ["--virtual-time-budget=9000", "--enable-logging=stderr", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    wrong = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert wrong == [], wrong  # an error of the page's script, or a thing that it may not load
    return done.stdout


@click.command()
@click.option("--shards", "counts", multiple=True, type=int, default=(4, 400))
@click.option("--pictures", type=click.Path(path_type=Path), default=Path("build/console"))
def main(counts: tuple[int, ...], pictures: Path) -> None:
    """One console for each number of shards, of which one is gone."""
    pictures.mkdir(parents=True, exist_ok=True)
    for count in counts:
        with ExitStack() as stack:
            _look_at(count, pictures, stack)


def _look_at(count: int, pictures: Path, stack: ExitStack) -> None:
    """Asserts what is shown of so many shards, and takes pictures."""
    directory = pictures / f"{count}-shards"
    shutil.rmtree(directory, ignore_errors=True)
    shards = Shards(directory, count, stack)
    gone = [["127.0.0.1:9"]] if count > 8 else []
    places = [[address] for address in shards.addresses] + gone
    asker = Asker(places, [], ClientSecurity(SecurityConfig()))
    console = Console(asker, {}, 1.0, ("127.0.0.1", 0), SecurityConfig(), None)
    console.start()
    stack.callback(console.close)
    wait_until(lambda: console.latest is not None, "the first round is over")
    shards.look_up(4000 // count)

    def has_seen_them() -> bool:
        return bool(msgspec.json.decode(console.latest or b"")["now"]["lookups"])

    wait_until(has_seen_them, "the console has seen lookups")
    url = f"http://127.0.0.1:{console.port}/"
    for scheme, arguments in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        picture = (pictures / f"{count}-{scheme}.png").resolve()
        browse(url, 1440, 1500, f"--screenshot={picture}", *arguments)
        print(f"{picture}: {picture.stat().st_size} bytes")
    shown = browse(url, 1440, 1500, "--dump-dom")
    cells = len(re.findall(r'<button class="shard ', shown))
    assert cells == len(places), f"{cells} of {len(places)} shards are shown"
    words = f"1 of {len(places)} shards are not served" if gone else f"all {count} shards are well"
    assert words in shown, words
    assert all(feature in shown for feature in FEATURES)


if __name__ == "__main__":
    main()
