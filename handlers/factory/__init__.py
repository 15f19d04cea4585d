"""Handlers made of a few functions that each treat one sample: `handler_factory` (docs/handler-factory.md).

Nothing is imported here, so that an archive can be packed without torch.
"""
