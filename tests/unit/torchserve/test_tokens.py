"""The key file that TorchServe writes, and files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from persia.deployment.deployment import own_directory
from persia.errors import AccessDenied, InvalidInput, Unavailable
from persia.torchserve.state import LOCK_FILE
from persia.torchserve.tokens import Tokens


def test_each_service_has_its_key(tmp_path: Path) -> None:
    file = tmp_path / "key_file.json"
    file.write_text(json.dumps({kind: {"key": f"of {kind}", "expiration time": "x"} for kind in ("management", "inference")}))
    tokens = Tokens(file=file)
    assert tokens.metadata("management") == (("authorization", "Bearer of management"),)
    assert tokens.metadata("inference") == (("authorization", "Bearer of inference"),)


def test_of_several_keys_the_first_one_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"inference": {"key": ["new", "old"]}, "management": {"key": "one"}}')
    tokens = Tokens(file=file)
    assert tokens.metadata("inference") == (("authorization", "Bearer new"),)
    assert tokens.metadata("management") == (("authorization", "Bearer one"),)


def test_a_token_itself_and_none() -> None:
    assert Tokens(" abc\n").metadata("inference") == (("authorization", "Bearer abc"),)
    assert Tokens().metadata("inference") == ()
    with pytest.raises(InvalidInput, match="got both"):
        Tokens("abc", "keys.json")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b'{"infer')], ids=["gone", "half written"])
def test_a_file_that_is_written_anew_is_worth_another_try(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """As while TorchServe starts again."""
    file = tmp_path / "key_file.json"
    good = b'{"inference": {"key": "k"}}'
    file.write_bytes(good)
    tokens = Tokens(file=file)
    assert tokens.metadata("inference") == (("authorization", "Bearer k"),)
    spoil(file)
    with pytest.raises(Unavailable, match=f"expected TorchServe's tokens in {file}, where they were before"):
        tokens.metadata("inference")
    file.write_bytes(good)
    assert tokens.metadata("inference") == (("authorization", "Bearer k"),)


@pytest.mark.parametrize("content", [None, b"", b'{"infer'], ids=["absent", "empty", "half written"])
def test_who_comes_before_the_launcher_has_made_the_file_is_to_try_again(tmp_path: Path, content: bytes | None) -> None:
    """The directory tells that a TorchServe is about to start; another path was never one's."""
    for name, error in (("key_file.json", Unavailable), ("other.json", AccessDenied)):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(AccessDenied):
            Tokens(file=file).metadata("inference")
        (tmp_path / LOCK_FILE).touch()
        with pytest.raises(error, match=f"expected .*{name}"):
            Tokens(file=file).metadata("inference")
        (tmp_path / LOCK_FILE).unlink()


def test_up_tells_so_before_it_starts_anything(tmp_path: Path) -> None:
    own_directory(tmp_path / "ts")
    with pytest.raises(Unavailable, match="TorchServe is about to start"):
        Tokens(file=tmp_path / "ts" / "key_file.json").metadata("inference")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis").touch()
    own_directory(theirs)
    assert [path.name for path in theirs.iterdir()] == ["thesis"]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"[]", "expected an object, got list"),
        (b'"x"', "expected an object, got str"),
        (b"null", "expected an object, got NoneType"),
        (b"7", "expected an object, got int"),
        (b'{"inference": 7}', "TypeError"),
        (b'{"inference": "key"}', "TypeError"),
        (b'{"inference": {"key": null}}', "expected a string as key for inference, got NoneType"),
        (b'{"inference": {"key": []}}', "expected a string as key for inference, got list"),
        (b'{"inference": {"key": 7}}', "expected a string as key for inference, got int"),
        (b'{"inference": {}}', "KeyError"),
        (b"{}", "KeyError"),
        (b"", "JSONDecodeError"),
        (b'{"inference"', "JSONDecodeError"),
        (b"\xff\xfe" * 1000, "UnicodeDecodeError"),
    ],
)
def test_a_file_that_is_no_key_file_is_named(tmp_path: Path, content: bytes, got: str) -> None:
    file = tmp_path / "key_file.json"
    file.write_bytes(content)
    with pytest.raises(AccessDenied, match=rf"^expected {file} to be .* key for inference, got: .*{got}") as caught:
        Tokens(file=file).metadata("inference")
    assert len(str(caught.value)) < 500  # it does not show what is in the file
