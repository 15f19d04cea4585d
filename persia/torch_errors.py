"""What torch's errors say, on the CPU and on GPUs."""

from __future__ import annotations

__all__ = ["last_line", "out_of_memory", "printable"]


def out_of_memory(error: BaseException) -> bool:
    """Torch and TorchScript raise a RuntimeError like any other."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in ("can't allocate memory", "out of memory"))


def last_line(error: BaseException) -> str:
    """The reason, before which TorchScript puts its stack; the kind of the error if it says nothing."""
    lines = printable(str(error)).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def printable(text: str) -> str:
    """What callers send may be half of a character, which no file can be written with."""
    return text.encode(errors="backslashreplace").decode()
