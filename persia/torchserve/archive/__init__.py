"""Model archives: what they hold, how they are written and read, tried and compared. Nothing here runs in TorchServe's workers.

command    `persia-launcher archive`, with its options
writing    the archive itself; `contents` reads it
dense      a dense model is tried, described by its signature, and packed
text       the same for the folder of a text model
compare    `persia-launcher compare`: two models on the same samples
"""
