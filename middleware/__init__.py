"""The gRPC face of persia.routing: takes batches, asks the shards, gives tensors."""
