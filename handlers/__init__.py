"""TorchServe handlers that fetch embeddings and run a scripted dense model."""
