"""The Open Inference Protocol, version 2, over REST and gRPC: what the server answers itself, and what its workers do."""
