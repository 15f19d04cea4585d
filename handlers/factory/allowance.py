"""How much memory one request may ask for. A short one can stand for a long one: by references, and by what is compressed."""

from __future__ import annotations

from persia.errors import TooLarge

__all__ = ["MAX_BYTES", "MAX_VALUES", "Allowance", "check_array_bytes"]

MAX_VALUES = 10_000_000
MAX_BYTES = 256 << 20  # of its arrays, unpacked


class Allowance:
    """Of one request."""

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self._most_bytes = most_bytes
        self.values = 0
        self.array_bytes = 0

    @property
    def used(self) -> tuple[int, int]:
        """Values, and bytes of arrays."""
        return self.values, self.array_bytes

    def use(self, values: int = 0, array_bytes: int = 0) -> None:
        """Raises TooLarge."""
        self.values += values
        self.array_bytes += array_bytes
        if self.values > MAX_VALUES:
            raise TooLarge(f"expected at most {MAX_VALUES} values in a request, got more, with what its py/id repeat")
        check_array_bytes(self.array_bytes, self._most_bytes)


def check_array_bytes(size: int, most_bytes: int) -> None:
    """Raises TooLarge."""
    if size > most_bytes:
        raise TooLarge(
            f"expected arrays of at most {most_bytes} bytes in a request, unpacked and with what its py/id repeat, "
            f"got {size} or more: send several requests"
        )
