"""Writes archives of one dense model into a store: each answers the first number of each row, and after them its version."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.support.dense_swaps import make_version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("versions", type=int, help="how many, from 0 on")
    options = parser.parse_args()
    for number in range(options.versions):
        make_version(options.store, number)


if __name__ == "__main__":
    main()
