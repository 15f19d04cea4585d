"""Tests, in rooms: `unit` starts no process, `process` starts real ones, `promises` holds what no other keeps."""
