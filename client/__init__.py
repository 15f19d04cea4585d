"""Clients of TorchServe's inference and management services, as a library and as commands."""

from .predict import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
