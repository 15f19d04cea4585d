"""The handler of the example under the name that its commands have; all that it does is in persia.handlers.transformers_handler."""

from persia.handlers.transformers_handler import TransformersHandler


class TransformersSeqClassifierHandler(TransformersHandler):  # type: ignore[misc]  # of an installed persia
    """Override preprocess, inference or postprocess here, if yours do something of their own."""
