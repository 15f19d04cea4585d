"""What all machines share: a directory with the checkpoint and the packets, and the certificates of servers and clients."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import yaml

from persia.writers import write_checkpoint
from tests.support.cluster.machines import run
from tests.support.epoch_rows import CHECKPOINT_VALUE, CONFIG_TEXT, DIM, IDS, SIGNS

SERVER_NAME = "persia-serve.default.svc"  # as the chart has it
CONTAINER_USER = 65532
MOUNTED = "/data"  # in all containers


class SharedFiles:
    """Paths, all below one directory."""

    def __init__(self, directory: Path, shards: int) -> None:
        """Writes the checkpoint and the certificates."""
        self.mounted = directory / "data"
        self.packets, self.store = self.mounted / "packets", self.mounted / "store"
        self.embedding_config, self.global_config = directory / "embedding_config.yml", directory / "global_config.yaml"
        self._certificates = directory / "certificates"
        for path in (self.packets, self.store, self._certificates):
            path.mkdir(parents=True)
        self.embedding_config.write_text(CONFIG_TEXT)
        blocks = [(SIGNS, np.full((IDS, DIM), CHECKPOINT_VALUE, np.float32))]
        write_checkpoint(self.mounted / "checkpoint", blocks, shards=shards)
        os.chown(self.packets, CONTAINER_USER, CONTAINER_USER)  # servers write their journals and the records of epochs there
        self._make_authority()
        self.renew_certificate()
        self.global_config.write_text(yaml.safe_dump({"security": self._security()}))

    @property
    def secret(self) -> dict[str, Path]:
        """The files of a Secret as cert-manager makes it: one certificate, for servers and for clients."""
        return {name: self._certificates / name for name in ("tls.crt", "tls.key", "ca.crt")}

    def renew_certificate(self) -> None:
        """Another one of the same authority, with another key."""
        request = self._certificates / "request"
        extensions = self._certificates / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{SERVER_NAME}\nextendedKeyUsage=serverAuth,clientAuth\n")
        key, certificate = self.secret["tls.key"], self.secret["tls.crt"]
        subject = ("-subj", "/CN=persia-serve")
        run("openssl", "req", "-new", *_NEW_KEY, "-keyout", f"{key}.new", "-out", str(request), *subject)
        signing = ("-CA", str(self.secret["ca.crt"]), "-CAkey", str(self._certificates / "ca.key"), "-CAcreateserial")
        days = ("-days", "30", "-extfile", str(extensions))
        run("openssl", "x509", "-req", "-in", str(request), *signing, *days, "-out", f"{certificate}.new")
        Path(f"{key}.new").chmod(0o600)
        for path in (key, certificate):
            Path(f"{path}.new").rename(path)

    def _make_authority(self) -> None:
        names = ("-keyout", str(self._certificates / "ca.key"), "-out", str(self.secret["ca.crt"]))
        run("openssl", "req", "-x509", *_NEW_KEY, *names, "-subj", "/CN=authority of a test", "-days", "30")

    def _security(self) -> dict[str, str]:
        certificate, key, authority = (str(self.secret[name]) for name in ("tls.crt", "tls.key", "ca.crt"))
        return {
            "ca": authority,
            "client_certificate": certificate,
            "client_key": key,
            "server_name": SERVER_NAME,
        }


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
