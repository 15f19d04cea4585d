"""Kept answers made again from checkpoint, packets and archives, without a server (docs/replay.md).

sources      the files that receipts name: checkpoints, epochs and archives, found and checked
signs        which signs an answer needs of each shard
rows         what checkpoint and packets say of these signs
tables       the tables of an epoch that have these rows alone
handler      the archive's own handler, which scores
replaying    one answer after the other
differences  where an answer and its kept one are not the same
command      `persia-launcher replay`
"""
