"""Whether what a model is asked, and what it answers, is still what it was: docs/drift.md.

A worker's DriftWatch (watch) turns a part of all batches into the sketches of a window (window, sketching), and writes each
window to a directory (state). Whoever reads the directory compares the windows with a Baseline (baseline, comparing, verdict):
`persia-launcher drift`. Nothing here needs TorchServe or torch; sketches of numbers need datasketches, the extra `drift`.
"""
