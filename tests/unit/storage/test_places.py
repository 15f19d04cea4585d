"""Which store a text of a config means, and what a user is told who lacks its library."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from persia.errors import InvalidInput
from persia.storage import place_of
from persia.storage.problems import StoreUnavailable, unavailable


@pytest.mark.parametrize("text", ["/model/checkpoint", "model", "C:\\model", "./s3:/half"])
def test_a_path_is_a_path(text: str) -> None:
    assert place_of(text).path == Path(text)
    assert str(place_of(text) / "s0") == f"{text}/s0"


@pytest.mark.parametrize(
    "text", ["s3://bucket/a", "s3a://bucket", "gs://bucket/a", "az://c/a", "hdfs://name:8020/a", "hdfs:///a"]
)
def test_a_url_is_a_store(text: str) -> None:
    place = place_of(f"{text}/")
    assert place.path is None and place.text == text
    assert str(place / "s0") == f"{text}/s0"


def test_what_storage_hdfs_makes_of_a_path() -> None:
    """As in Persia: a plain path is one of Hadoop's file system, and a URL says itself what it is."""
    assert place_of("/model/a", "hdfs").text == "hdfs:///model/a"
    assert place_of("s3://bucket/a", "hdfs").text == "s3://bucket/a"
    assert place_of("/model/a", "ceph").path == Path("/model/a")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://host/a", "expected a path or a URL of s3://"),
        ("s3://", "with a bucket"),
        ("hdfs:///", "with a path"),
        ("s3:/bucket/a", "with two slashes, such as s3://bucket/path"),
        ("hdfs:name/a", "with two slashes"),
    ],
)
def test_other_urls_are_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        place_of(text)


@pytest.mark.parametrize(("url", "module", "extra"), [("s3://b/a", "obstore", "s3"), ("hdfs:///a", "hdfs_native", "hdfs")])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module or name.startswith("persia.storage.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidInput, match=rf"^{url} needs .* pip install 'persia-serve\[{extra}\]'$"):
        place_of(url).open()


def test_what_a_store_says_stands_in_a_line() -> None:
    said = "Error performing PUT http://host/b/a?X-Amz-Signature=1 in 1.2s, after 4 retries - status code: 500"
    said += ': <?xml version="1.0"?>\n<Error>'
    assert str(unavailable("s3://b/a", said)) == (
        "[Errno 5] the store did not do it, although it was asked again: Error performing PUT http://host/b/a in 1.2s, after 4 "
        "retries - status code: 500; it is tried again later: 's3://b/a'"
    )


ROLE = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1s, after 4 retries"


@pytest.mark.parametrize(
    ("ending", "kind"), [(" - status code: 403 Forbidden", PermissionError), (" - timed out", StoreUnavailable)]
)
def test_who_has_no_credentials_is_told_so(ending: str, kind: type[OSError]) -> None:
    """The library asks for the role of the machine then, whose answer says nothing to somebody who forgot a Secret."""
    found = unavailable("s3://b/a", ROLE + ending)
    assert type(found) is kind
    assert "there are no credentials in the environment" in str(found) and "AWS_ACCESS_KEY_ID" in str(found)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_an_endpoint_that_is_no_url(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the library makes a panic, and not an error."""
    pytest.importorskip("obstore")
    monkeypatch.setenv(name, "ceph:7480")
    with pytest.raises(InvalidInput, match=rf"expected \${name} as http://HOST:PORT or https://HOST, got 'ceph:7480'"):
        place_of("s3://bucket/a").open()
    assert place_of("file:///tmp").open().url == "file:///tmp"


def test_a_panic_of_the_library_is_an_error_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that follows packets goes on after an Exception, and a panic is none."""
    pytest.importorskip("obstore")
    for name, value in (("AWS_ENDPOINT_URL", "http://["), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable, match="its library has failed"):
        place_of("s3://bucket/a").open().stat("a")


def test_a_store_without_its_settings_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(
        InvalidInput, match=r"az://c/a cannot be opened: .*Account must be specified: mend the URL, or the variables"
    ):
        place_of("az://c/a").open()
