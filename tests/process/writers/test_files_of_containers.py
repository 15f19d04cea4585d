"""Files that two processes write, of which none sees the other: in a container each is process 1."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

FILES = 300
# Both begin a file at the same moment: when both have said that they are ready for it.
WRITER = """
import os, sys
os.getpid = lambda: 1
from pathlib import Path
from persia.system.durable import write_file, write_new_file
me, directory = sys.argv[1], Path(sys.argv[2])
for number in range({files}):
    print(number, flush=True)
    sys.stdin.readline()
    {write}
"""


def test_of_two_that_write_a_new_file_one_wins_and_the_file_is_its_own(tmp_path: Path) -> None:
    write_with_two(tmp_path, 'if write_new_file(directory / str(number), me.encode()): (directory / f"{number}.{me}").touch()')
    for number in range(FILES):
        (winner,) = (name for name in "ab" if (tmp_path / f"{number}.{name}").exists())
        assert (tmp_path / str(number)).read_text() == winner


def test_two_that_write_the_same_file_are_not_in_each_others_way(tmp_path: Path) -> None:
    write_with_two(tmp_path, "write_file(directory / str(number), me.encode() * 100)")
    assert {(tmp_path / str(number)).read_text() for number in range(FILES)} <= {"a" * 100, "b" * 100}


def write_with_two(directory: Path, write: str) -> None:
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER.format(files=FILES, write=write), name, str(directory)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in "ab"
        ]
        for number in range(FILES):
            for writer in writers:
                assert writer.stdout is not None and writer.stdout.readline() == f"{number}\n"
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("\n")
                writer.stdin.flush()
        for writer in writers:
            assert writer.wait() == 0
