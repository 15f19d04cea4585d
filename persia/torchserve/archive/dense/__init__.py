"""`persia-launcher archive --model`: a dense model is tried, described by its signature, and packed."""
