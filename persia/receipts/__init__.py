"""Receipts: what an answer was made of, kept with the answer, so that it can be made again (docs/replay.md).

receipt    the receipt itself
kept       files of kept answers
ring       the files in which a handler keeps a share of its answers
"""
