"""A home for TorchServe's archives and handlers without its Java: the same APIs, on the native gRPC."""
