"""What a store refuses, as errors of the operating system: whoever reads files handles them already."""

from __future__ import annotations

import errno
import re

__all__ = ["ChangedError", "StoreUnavailable", "refused", "unavailable"]


class StoreUnavailable(OSError):
    """A store did not answer, or not as it should, for as long as it was asked again. It may do so later."""


class ChangedError(OSError):
    """A file of a store was written again while it was read."""


# What a store says of itself in its answer, and what to do about it.
_ADVICE = {
    "RequestTimeTooSkewed": "the clock of this machine and that of the store are too far apart: set this machine's clock",
    "SignatureDoesNotMatch": "the secret key is not that of the access key: set AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "the store does not know the access key: set AWS_ACCESS_KEY_ID",
    "AccessDenied": "the access key may not do this: give it the right to list, read and, for writers, write",
    "ExpiredToken": "the session token has ended: renew AWS_SESSION_TOKEN",
    "NoSuchBucket": "there is no such bucket: make it, or mend the URL",
    "InvalidBucketName": "the store does not allow a bucket of that name: mend the URL",
}
# Where the libraries ask for the role of a machine or a pod, when the environment has no credentials.
_ROLES = re.compile(r"//(169\.254\.169\.254|169\.254\.170\.\d+|metadata\.google\.internal)\b")
_NO_CREDENTIALS = (
    "there are no credentials in the environment, and the cloud says of no role that this machine has: set AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or what docs/storage.md names for other stores"
)
_CODE = re.compile(r"<Code>(\w+)</Code>")


def refused(url: str, text: str) -> OSError:
    """The store has answered, and its answer is no."""
    code = _code_of(text)
    advice = _ADVICE.get(code, "") or "the credentials do not do: set those of the store's library, see docs/storage.md"
    if _ROLES.search(text):
        return PermissionError(errno.EACCES, _NO_CREDENTIALS, url)
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return FileNotFoundError(errno.ENOENT, f"the store refuses: {advice}", url)
    return PermissionError(errno.EACCES, f"the store refuses{f' with {code}' if code else ''}: {advice}", url)


def unavailable(url: str, text: str) -> OSError:
    """The store has not answered, or says that it cannot; an answer that says what is wrong is refused()."""
    if _code_of(text) in _ADVICE or re.search(r"status code: 40[13]\b", text):
        return refused(url, text)
    if _ROLES.search(text):
        return StoreUnavailable(errno.EIO, f"{_NO_CREDENTIALS} ({_first_line(text)})", url)
    return StoreUnavailable(
        errno.EIO, f"the store did not do it, although it was asked again: {_first_line(text)}; it is tried again later", url
    )


def _code_of(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""


def _first_line(text: str) -> str:
    """What a library says, without its debugging output, the store's XML, and the query of a URL, which may be a signature."""
    first = text.strip().partition("\n")[0].partition(": <?xml")[0]
    return re.sub(r"\?\S+", "", first)[:300] or "no reason was given"
