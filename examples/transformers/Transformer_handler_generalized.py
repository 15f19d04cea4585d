"""The handler under the name that the example's commands have; what it does is in persia.handlers.transformers_handler."""

from persia.handlers.transformers_handler import TransformersHandler


class TransformersSeqClassifierHandler(TransformersHandler):
    """Override preprocess, inference or postprocess here, if yours do something of their own."""
