"""Looking into checkpoints and packets, and converting a checkpoint: `persia-launcher checkpoint` and `packet`."""
