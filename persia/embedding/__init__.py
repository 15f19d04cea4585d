"""The older name of what clients import; see persia.embedding.data."""
