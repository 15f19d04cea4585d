"""What TorchServe's own suite asks over REST besides its operations of management, and more forms of it.

Archives stand in for those of the suite. STORE is the model store, wherever it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["SUITE_CASES", "SuiteCase"]

_BOUNDARY = "a-part"
_TYPES = {
    "-": "application/octet-stream",
    "text": "text/plain",
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "parts": f"multipart/form-data; boundary={_BOUNDARY}",
}

# Listener, method, path, the kind of the body, and the body. Parts are `name=value` with `;` between them.
_CASES = """
management POST models?url=other.mar&model_name=one&runtime=python
management GET models/one?customized=true
management PUT models/one?min_worker=1&synchronous=true
management PUT models/one/1.0?min_worker=1&synchronous=true
management GET models/one
management GET models?limit=200&nextPageToken=X
inference POST predictions/one form do=inputs&data=test
inference POST explanations/one form do=inputs&data=test
inference POST v1/models/one:predict form do=inputs&data=test
inference POST v1/models/one:explain form do=inputs&data=test
inference POST v2/models/one/infer form do=inputs&data=test
inference POST v2/models/one/explain form do=inputs&data=test
inference POST predictions/one/1.0 form do=inputs&data=a+b%20c&data=%C3%A4
inference POST predictions/one json {"do": "inputs"}
inference POST predictions/one json {broken
inference POST predictions/one text inputs
inference POST predictions/one - inputs
inference POST predictions/one parts do=inputs;data=test
inference POST predictions/one parts do=inputs;data=
inference GET predictions/one?do=inputs text batch
inference POST invocations?model_name=one json {"do": "inputs"}
inference POST invocations parts model_name=one;do=inputs
inference POST models/one/invoke json {"do": "inputs"}
inference POST models/one/invoke parts do=inputs
inference GET one/predict?do=inputs&data=test
inference POST one/predict text inputs
inference POST one/predict?data=test form do=inputs
inference GET none/predict?data=test
inference GET one/predict/more
inference POST predictions//one text inputs
inference POST predictions/%6Fne text inputs
inference POST predictions/one text refuse 599
inference POST predictions/one text refuse 404
inference POST predictions/one text memory
inference POST predictions/one text raise
inference POST predictions/one text few
inference POST predictions/one text none
inference POST predictions/one text echo
inference POST predictions/one text stream 3
inference POST predictions/one text status 507
management DELETE models/one
management POST models json {'url': 'STORE/inside/deep', 'initial_workers': '1', 'synchronous': 'true', max_batch_delay: 5}
management GET models/deep
inference POST predictions/deep text batch
management DELETE models/deep/1.11
management POST models?url=STORE/inside/no_version/
management DELETE models/no_version/1.0
management POST models?url=no_name.mar&model_name=named
management DELETE models/named
management POST models?url=no_name.mar
management POST models?url=no_manifest.mar&model_name=named
management POST models?url=no_handler.mar
management POST models?url=out_of_memory.mar&initial_workers=1&synchronous=true
management POST models?url=two_parts.mar
management POST models?url=three_parts.mar
management GET models/versioned
management GET models/versioned/all
management PUT models/versioned/3.3.3/set-default
management PUT models/versioned/1.11/set-default
management PUT models/versioned/1.2.1/set-default
management DELETE models/versioned/1.3.1
management DELETE models/versioned/1.2.1
management DELETE models/versioned/1.11
management DELETE models/versioned/1.2.1
management POST models?url=http%3A%2F%2Flocalhost%3Aaaaa
management POST models?url=https%3A%2F%2F..%2Fmodels%2Fx.mod
management POST models?url=http%3A%2F%2Flocalhost%2Fa%2F..%2Fx.mar
management POST models?url=ftp%3A%2F%2Flocalhost%2Fx.mar
management POST models?url=s3%3A%2F%2Fbucket%2Fx.mar
management POST models?url=file%3A%2F%2F%2FInvalidUrl&model_name=any&initial_workers=1
management POST models?url=InvalidUrl&runtime=InvalidRuntime
management POST models form url=other.mar
management POST workflows?url=x.war
management GET workflows/x
management DELETE workflows/x
management PUT workflows/x
management DELETE models/
management DELETE models
metrics GET ping
metrics GET nothing
metrics GET /
metrics GET v2/health/live
inference GET metrics
"""


class SuiteCase(NamedTuple):
    """listener: `inference`, `management` or `metrics`."""

    number: int
    listener: str
    method: str
    path: str
    kind: str = "-"
    text: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Type": _TYPES[self.kind]}

    def body(self, store: str) -> bytes | None:
        if self.kind != "parts":
            return self.text.replace("STORE", store).encode() or None
        lines = []
        for name, _, value in (part.partition("=") for part in self.text.split(";")):
            lines += [f"--{_BOUNDARY}", f'Content-Disposition: form-data; name="{name}"', "", value]
        return "\r\n".join([*lines, f"--{_BOUNDARY}--", ""]).encode()


SUITE_CASES = [SuiteCase(number, *line.split(" ", 4)) for number, line in enumerate(_CASES.strip().splitlines(), 200)]
