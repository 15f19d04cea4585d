"""base/build.sh, and the archives of extra files, of whatever kind and with whatever in them."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from persia.errors import ConfigError, InvalidInput, TooLarge
from persia.handlers.factory.extra_files import extra_files_of, unpack, unpack_extra_files
from tests.support.factory_handlers import write_zip
from tests.support.factory_models import BASE, build, write_guide_files

Writer = Callable[[Path, dict[str, bytes]], None]


def write_tar(mode: str) -> Writer:
    def write(path: Path, files: dict[str, bytes]) -> None:
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    return write


WRITERS = {"tar": write_tar("w"), "gz": write_tar("w:gz"), "bz2": write_tar("w:bz2"), "xz": write_tar("w:xz"), "zip": write_zip}


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_is_unpacked_by_its_content(kind: str, tmp_path: Path) -> None:
    files = {"model.py": b"x = 1\n", "net/layers/block.py": b"", "inner.zip": b"PK\x05\x06" + bytes(18)}
    archive = tmp_path / "any.tar.gz"
    WRITERS[kind](archive, files)
    into = tmp_path / "into"
    unpack(archive, into)
    unpack(archive, into)  # as a second worker does
    assert {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()} == files


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    write_zip(archive, {"model.py": b"theirs", "other.py": b"new"})
    (tmp_path / "model.py").write_text("ours")
    unpack(archive, tmp_path)
    assert (tmp_path / "model.py").read_text() == "ours" and (tmp_path / "other.py").read_text() == "new"


OUTSIDE = ["../evil", "a/../../evil", "/tmp/persia-evil", "\\evil", "MAR-INF/MANIFEST.json", "./../evil", "mar-inf/x"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_file_that_would_lie_outside_is_refused_before_anything_is_written(kind: str, name: str, tmp_path: Path) -> None:
    archive, into = tmp_path / "x" / "hostile", tmp_path / "x" / "into"
    into.mkdir(parents=True)
    WRITERS[kind](archive, {"first.py": b"", name: b"evil"})
    with pytest.raises(InvalidInput, match="nothing is unpacked"):
        unpack(archive, into)
    assert {path.name for path in tmp_path.rglob("*")} == {"x", "hostile", "into"}


NAMES = {
    "a file that others lie in": (["x", "x/y"], "'x', which is also the directory of 'x/y'"),
    "the same, the other way round": (["./x/y/z", "x"], "'x', which is also the directory of './x/y/z'"),
    "a long name": (["d/" + "a" * 300 + "/b"], "a/b', which has a name of more than 255 bytes"),
    "a long name in UTF-8": (["\u00e9" * 150], "which has a name of more than 255 bytes"),
    "a long path": (["aaa/" * 300 + "b"], "which has a path of more than 1024 bytes"),
}


@pytest.mark.parametrize(("names", "message"), NAMES.values(), ids=list(NAMES))
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_no_folder_can_have_are_refused(kind: str, names: list[str], message: str, tmp_path: Path) -> None:
    archive, into = tmp_path / "any", tmp_path / "into"
    into.mkdir()
    WRITERS[kind](archive, dict.fromkeys(["first", *names], b""))
    with pytest.raises(InvalidInput, match=rf"got {'.*' if message[0] != chr(39) else ''}{message}: nothing is unpacked"):
        unpack(archive, into)
    assert not list(into.iterdir())


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_the_longest_name_is_unpacked(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "any", {"\u00e9" * 127: b"x"})
    unpack(tmp_path / "any", tmp_path)
    assert (tmp_path / ("\u00e9" * 127)).read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_nothing_is_written_through_what_is_no_directory(kind: str, tmp_path: Path) -> None:
    archive, into, outside = tmp_path / "any", tmp_path / "into", tmp_path / "outside"
    for directory in (into, outside):
        directory.mkdir()
    (into / "link").symlink_to(outside)
    (into / "file").touch()
    for name, what in (("link/d/evil.py", "link, which is a link"), ("file/model.py", "file, which is a file")):
        WRITERS[kind](archive, {"first.py": b"", name: b"evil"})
        with pytest.raises(InvalidInput, match=rf"got '{name}', which would lie in .*/{what}: nothing is unpacked"):
            unpack(archive, into)
    assert not list(outside.iterdir()) and {path.name for path in into.iterdir()} == {"link", "file"}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_zip(tmp_path / "a.zip", {"d/model.py": b"x"})
    unpack(tmp_path / "a.zip", tmp_path / "link")
    assert (tmp_path / "real" / "d" / "model.py").read_bytes() == b"x"


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_that_unpacks_to_too_much_is_refused(kind: str, tmp_path: Path) -> None:
    archive, into = tmp_path / "any", tmp_path / "into"
    WRITERS[kind](archive, {"a": bytes(1000), "b": bytes(1000)})
    unpack(archive, into, 2000)
    WRITERS[kind](archive, {"c": bytes(1000), "d": bytes(1001)})
    with pytest.raises(TooLarge, match=r"any to have files of at most 2000 bytes, got 2001: nothing is unpacked"):
        unpack(archive, into, 2000)
    assert {path.name for path in into.iterdir()} == {"a", "b"}


def member(kind: bytes, target: str = "", name: str = "link") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


HOSTILE = {
    "symlink to a file outside": [member(tarfile.SYMTYPE, "/etc/passwd")],
    "symlink upwards": [member(tarfile.SYMTYPE, "../../x")],
    "symlink to a directory": [member(tarfile.DIRTYPE, name="d"), member(tarfile.SYMTYPE, "d")],
    "symlink to a directory outside, and a file through it": [
        member(tarfile.SYMTYPE, "/tmp", "d"),
        member(tarfile.REGTYPE, name="d/persia-evil"),
    ],
    "hard link outside": [member(tarfile.LNKTYPE, "/etc/passwd")],
    "hard link upwards": [member(tarfile.LNKTYPE, "../x")],
    "links to one another": [member(tarfile.SYMTYPE, "b", "a"), member(tarfile.SYMTYPE, "a", "b")],
    "device": [member(tarfile.CHRTYPE)],
    "pipe": [member(tarfile.FIFOTYPE)],
    "directory outside": [member(tarfile.DIRTYPE, name="../d")],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=list(HOSTILE))
def test_links_that_lead_outside_and_devices_are_refused(members: list[tarfile.TarInfo], tmp_path: Path) -> None:
    archive, into = tmp_path / "hostile.tar", tmp_path / "into"
    into.mkdir()
    with tarfile.open(archive, "w") as opened:
        for each in members:
            opened.addfile(each)
    with pytest.raises(InvalidInput, match=r"expected files that lie in the archive hostile\.tar"):
        unpack(archive, into)
    assert not list(into.iterdir()) and not Path("/tmp/persia-evil").exists()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InvalidInput, match="'link', which is a link"):
        unpack(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_to_a_file_of_the_archive_is_this_file(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        real = tarfile.TarInfo("d/model.py")
        real.size = 3
        archive.addfile(real, io.BytesIO(b"abc"))
        archive.addfile(member(kind, "model.py" if kind == tarfile.SYMTYPE else "d/model.py", "d/other.py"))
    unpack(tmp_path / "a.tar", tmp_path)
    assert (tmp_path / "d" / "other.py").read_text() == "abc" and not (tmp_path / "d" / "other.py").is_symlink()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_broken_archive_is_refused(kind: str, tmp_path: Path) -> None:
    archive = tmp_path / "source.tar.gz"
    WRITERS[kind](archive, {"a.py": bytes(range(256)) * 200, "b.py": b""})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InvalidInput, match=r"expected a tar, tar\.gz or zip, got source\.tar\.gz"):
        unpack(archive, tmp_path)


def test_a_zip_with_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"\u00e9.py": b""})
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace("\u00e9".encode(), b"\xff\xff"))
    with pytest.raises(InvalidInput, match=r"got a\.zip, which cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path)


def test_what_is_called_an_archive_has_to_be_one_and_anything_else_stays(tmp_path: Path) -> None:
    for name in ("a.tar.gz", "a.py"):
        (tmp_path / name).write_text("x = 1\n")
    unpack(tmp_path / "a.py", tmp_path)
    with pytest.raises(InvalidInput, match=r"got a\.tar\.gz, which cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path)


def test_the_names_of_extra_files_stand_in_the_model_config() -> None:
    assert extra_files_of({"system": {"extraFiles": "a.tar, b.zip,"}}) == ["a.tar", "b.zip"]
    assert extra_files_of({"system": {"extraFiles": ["a.tar"]}}) == ["a.tar"]
    assert extra_files_of(None) == extra_files_of({"system": None}) == extra_files_of({"system": {"extraFiles": None}}) == []
    for wrong in ("../a.tar", "/a.tar", "x/../../a", 7, [7]):
        with pytest.raises(ConfigError, match=r"\$\.system\.extraFiles"):
            extra_files_of({"system": {"extraFiles": wrong}})


def test_outside_of_a_model_archive_nothing_is_unpacked(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"a.py": b""})
    unpack_extra_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


USAGE = (
    "Usage: {} --model_name <model_name> --model_file <model_file> --config_file <config_file> --requirements_file "
    "<requirements_file> --checkpoint_file <checkpoint_file> --version <version> [--extra_files <extra_files>]\n"
)


def test_build_says_what_it_wants_as_the_guide_does() -> None:
    missing = build(BASE, "--model_name", "x")
    assert (missing.returncode, missing.stdout) == (1, "Error: All arguments must be provided\n" + USAGE.format("./build.sh"))
    for arguments in (["--other"], ["--version"]):
        run = build(BASE, *arguments)
        assert (run.returncode, run.stdout) == (1, USAGE.format("./build.sh"))


def test_the_example_is_built_in_its_folder_and_outside(tmp_path: Path) -> None:
    """Into the current directory, from files with blanks in their names and lists with blanks after commas."""
    base = tmp_path / "base"
    shutil.copytree(BASE, base)
    (base / "weights.pt").write_bytes(b"")
    arguments = ["--model_name", "m", "--version", "2.0", "--requirements_file", "requirements.txt"]
    arguments += ["--model_file", "handler_model.py", "--config_file", "model-config.yml", "--checkpoint_file", "weights.pt"]
    built = build(base, *arguments, script=base / "build.sh")
    assert built.returncode == 0, built.stderr
    assert built.stdout == (
        "Building MAR with the following configuration.....\n-------------------\nTorchServe model / MAR file name: m\n"
        "Model / MAR version: 2.0\nModel code file: handler_model.py\nTorchServe model config file: model-config.yml\n"
        "Model requirements file: requirements.txt\nModel checkpoint file: weights.pt\n-------------------\n"
        f"Wrote {base / 'm.mar'}: m 2.0, {(base / 'm.mar').stat().st_size} bytes\n"
    )
    files = write_guide_files(tmp_path / "with blanks")
    (tmp_path / "with blanks" / "notes.txt").write_text("x")
    extra = f"{files['extra_files']} , {tmp_path / 'with blanks' / 'notes.txt'}"
    pairs = [text for option, path in files.items() for text in (f"--{option}", str(path))]
    built = build(tmp_path, "--model_name", "m", "--version", "1", *pairs, "--extra_files", extra)
    assert built.returncode == 0, built.stderr
    assert f"Extra files: {extra}\n" in built.stdout
    with zipfile.ZipFile(tmp_path / "m.mar") as archive:
        assert {"model.py", "source.tar.gz", "notes.txt", "base_handler.py"} <= set(archive.namelist())
        assert archive.read("base_handler.py") == (BASE / "base_handler.py").read_bytes()
