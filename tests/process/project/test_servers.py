"""What the tests' own processes say is understood."""

from __future__ import annotations

from pathlib import Path

from tests.support.servers import whole_lines


def test_a_line_is_not_read_before_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as server:
        server.write(b"of an earlier start\n")
        begin = server.tell()
        server.write(b"loading \xc3")
        assert whole_lines(log, begin) == ""
        server.write(b"\xa4\nlistening on 127.0.0.1:4112")
        assert whole_lines(log, begin) == "loading \u00e4\n"
        server.write(b"7 as shard 0 of 2\n")
        assert whole_lines(log, begin) == "loading \u00e4\nlistening on 127.0.0.1:41127 as shard 0 of 2\n"
