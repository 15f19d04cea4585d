"""Tests, in rooms: `unit` starts no process, `process` starts real ones and converts whole models, `promises` holds what no
other keeps.
"""
