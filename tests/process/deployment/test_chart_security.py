"""Secrets as cert-manager and kubectl make them: servers of the chart's configs take them, and so do the chart's probes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import yaml

from persia.batch import IDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.writers import write_checkpoint
from tests.support.certified import TOKEN
from tests.support.charts import container_of, needs_helm, pods_of, render, write_files
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until
from tests.support.stacks import LAUNCHER

EXTENSIONS = "subjectAltName=DNS:persia-serve.serving.svc\nextendedKeyUsage=serverAuth,clientAuth\n"


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=PATIENCE)


def make_secret(directory: Path) -> None:
    """tls.crt, tls.key and ca.crt; one certificate for both ends, as cert-manager makes it with both usages."""
    directory.mkdir(parents=True)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
    openssl(directory, "req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=persia")
    (directory / "extensions").write_text(EXTENSIONS)
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions", "-days", "2")
    openssl(directory, "x509", "-req", "-in", "tls.csr", *signed, "-out", "tls.crt")
    (directory / "tls.key").chmod(0o600)


def test_a_secret_of_cert_manager_and_tokens_are_enough(tmp_path: Path) -> None:
    needs_helm()
    make_secret(tmp_path / "tls")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "tokens").touch(mode=0o600)
    (tmp_path / "tokens" / "tokens").write_text(f"scorer:{TOKEN}\n")
    documents = render("all", "shards.count=1", "epochs=false", 'packets=""', 'checkpoint="s3://here"')
    directory = write_files(documents, "ctr-shards", tmp_path / "config")
    ids = np.arange(10, dtype=np.uint64)
    write_checkpoint(tmp_path / "ckpt", [(ids + np.uint64(1 << 56), np.ones((10, 4), np.float32))], shards=1)
    config = directory / "global_config.yaml"
    config.write_text(config.read_text().replace("/etc/persia/", f"{tmp_path}/").replace("s3://here", str(tmp_path / "ckpt")))
    arguments = ["--global-config", str(config)]
    with EmbeddingServer(tmp_path / "run", directory / "embedding_config.yml", arguments=arguments) as server:
        address = server.address
        wait_until(lambda: "serving version" in server.log(), "it serves")
        probes = container_of(pods_of(documents)["ctr-shard-0"])
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            program, *words = probes[probe]["exec"]["command"]
            assert program == "persia-launcher"
            words = [address if word == "127.0.0.1:8888" else word for word in words]
            done = subprocess.run(
                [str(LAUNCHER), *words, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert done.returncode == 0, done.stderr
        settings = yaml.safe_load(config.read_text())
        with InferCtx([address], global_config=config, embedding_config=directory / "embedding_config.yml") as context:
            batch = PersiaBatch([IDTypeFeature("user", [ids])], requires_grad=False).to_bytes()
            assert set(context.get_embedding_from_bytes(batch).lookup.numbers.tolist()) == {10.0}
        settings["security"] = {"insecure": True}
        config.write_text(yaml.dump(settings))
        bare = [str(LAUNCHER), "health", address, "--global-config", str(config)]
        assert subprocess.run(bare, capture_output=True, timeout=PATIENCE, check=False).returncode != 0
