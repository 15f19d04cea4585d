from __future__ import annotations

import pytest

from persia.torch_errors import last_line, out_of_memory


@pytest.mark.parametrize(
    ("error", "line"),
    [(RuntimeError("a stack\nthe reason\n"), "the reason"), (ValueError(), "ValueError"), (KeyError("\ud800"), r"'\ud800'")],
)
def test_the_reason_is_one_line_and_never_empty(error: Exception, line: str) -> None:
    assert last_line(error) == line


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory"), True),
        (RuntimeError("a matrix of another shape"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_words(error: Exception, is_memory: bool) -> None:
    assert out_of_memory(error) == is_memory
