"""What a handler file imports `handler_factory` from. base/build.sh packs this file into the archive, beside the handler file.

The files of `system.extraFiles` are unpacked when this module is imported, so imports from them may stand below this one.
"""

from pathlib import Path

try:
    from persia.handlers.factory.extra_files import unpack_extra_files
    from persia.handlers.factory.handler import handler_factory
except ImportError as error:
    # TorchServe would take an ImportError for a handler of its own that it does not have, and say nothing of this one.
    raise RuntimeError(f"{error}: the workers of TorchServe need pip install 'persia-serve[torchserve]'") from error

__all__ = ["handler_factory"]

unpack_extra_files(Path(__file__).parent)
