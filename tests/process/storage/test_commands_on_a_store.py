"""Commands that look at a checkpoint, packets and epochs do so in a store, too."""

from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner, Result

from persia.embedding_server.tools.commands import checkpoint
from persia.embedding_server.tools.epochs import epochs
from persia.storage import place_of
from persia.writers import EpochCommitter, IncrementalDumper, write_checkpoint
from tests.support.checks import Checked, Files
from tests.support.s3_servers import S3Server
from tests.support.stored import SIGNS
from tests.support.uploads import upload
from tests.support.written import block


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(checkpoint, list(arguments), catch_exceptions=False)


def test_a_checkpoint_is_inspected(s3: S3Server) -> None:
    url = s3.url("inspected")
    write_checkpoint(url, [block(SIGNS)], shards=2, files_per_shard=2)
    whole = invoke("inspect", url)
    assert whole.exit_code == 0 and f"{len(SIGNS)} rows" in whole.output and url in whole.output
    store, name = place_of(url).open(), "s1/replica_1_shard_0.emb"
    store.put(name, store.read_whole(name)[:-5])
    broken = invoke("inspect", url)
    assert broken.exit_code == 1 and f"broken: {url}/{name} at byte" in broken.output


def test_epochs_are_shown_and_returned_to(s3: S3Server) -> None:
    url = s3.url("epochs")
    with IncrementalDumper(url) as dumper:
        dumper.commit(*block(SIGNS))
        first = dumper.flush()
        dumper.commit(*block(SIGNS))
        second = dumper.flush()
    assert first is not None and second is not None
    EpochCommitter(url).commit([first])

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(epochs, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert f"1 packets are in no epoch, {second} first" in run("log", url)
    run("revert", url, "--to", "1", "--why", "tried")
    assert "returns to epoch 1" in run("log", url) and "with 0 packets" in run("log", url)


def test_the_check_reads_a_checkpoint_in_a_store(tmp_path: Path, s3: S3Server) -> None:
    """`up` begins with it, so a deployment from a store has to pass it."""
    files = Files(tmp_path)
    files.write()
    upload(s3.store("checked"), files.checkpoint)
    in_directory = files.check()
    config = yaml.safe_load((tmp_path / "global_config.yaml").read_text())
    config["common_config"]["infer_config"]["embedding_checkpoint"] = s3.url("checked")
    server = {"enable_incremental_update": True, "incremental_dir": s3.url("checked-packets")}
    config["embedding_parameter_server_config"] = {**server, "local_buffer_dir": str(tmp_path / "buffer")}
    (tmp_path / "global_config.yaml").write_text(yaml.safe_dump(config))
    in_store = files.check()
    assert in_store.code == in_directory.code == 0

    def rows(checked: Checked) -> list[str]:
        return [str(line) for line in checked.content["findings"] if line["area"] == "rows"]

    assert rows(in_store) == rows(in_directory)
    s3.store("checked").remove("embedding_dump_done")
    assert files.check().code != 0
