"""One shard of the sparse tables, served over gRPC."""
