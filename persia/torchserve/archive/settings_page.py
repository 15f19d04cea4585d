"""Prints docs/archive-settings.md, read off the code, so that the document cannot disagree with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from persia.torchserve.archive.model_config import SETTINGS as TORCHSERVE_SETTINGS
from persia.torchserve.settings import SETTINGS

__all__ = ["markdown"]

_HEAD = """\
# Settings of an archive

<!-- Generated: python -m persia.torchserve.archive.settings_page > docs/archive-settings.md -->

They stand in the archive's `model-config.yaml`. `persia-launcher archive` writes all of the first table, from its options, from
the file of `--config`, else as here; the handler's own come from that file:

```yaml
# more.yml
responseTimeout: 30
persia:
  addresses: ["127.0.0.1:8887"]
  warm_up: sample.bin
```

A value of another type, an unknown key under `persia`, or a file that the archive lacks is an error before the archive is
written. Keys of TorchServe that are not listed are passed on, but for two that lose answers (`clientTimeoutInMills`,
`asyncCommunication`).
"""


def markdown() -> str:
    """The whole document."""
    sections = [
        _HEAD,
        "## TorchServe's\n",
        *_table((key, value, meaning) for key, (value, meaning) in TORCHSERVE_SETTINGS.items()),
        "\n## The handler's, under `persia`\n",
        *_table((key, setting.default, setting.meaning) for key, setting in SETTINGS.items()),
    ]
    return "\n".join(sections) + "\n"


def _table(rows: Iterable[tuple[str, Any, str]]) -> list[str]:
    lines = [f"| `{key}` | {'none' if default is None else f'`{default}`'} | {meaning} |" for key, default, meaning in rows]
    return ["| key | default | meaning |", "|---|---|---|", *lines]


if __name__ == "__main__":
    print(markdown(), end="")
