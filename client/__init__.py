"""Clients of TorchServe's inference and management services, as a library and as commands."""
