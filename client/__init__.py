"""Command line clients of the inference and management services."""
