"""`persia-launcher compare`: two models on the same samples."""
