"""`make swap-test`: swaps of a dense model and its rows under load, on one home after the other, with no pair that is wrong."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.dense_homes import HOMES, judge_swaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--home", choices=list(HOMES), action="append", help="only this one")
    options = parser.parse_args()
    for home in options.home or HOMES:
        directory = Path(tempfile.mkdtemp(prefix="persia-swaps-"))
        print(f"{home}, directory {directory}", flush=True)
        try:
            judgement = judge_swaps(directory, HOMES[home], options.swaps, packets_each=2.0)
        except AssertionError as error:
            sys.exit(f"{error}\nkept: {directory}")
        print(f"{home}, {options.swaps} swaps: {judgement}", flush=True)
        if judgement.mismatched or judgement.misread or judgement.versions != options.swaps + 1:
            sys.exit(f"expected no pair that is wrong, and answers of each version; kept: {directory}")
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
