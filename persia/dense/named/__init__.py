"""Models of every kind that are called with tensors by name, as the Open Inference Protocol has them."""
