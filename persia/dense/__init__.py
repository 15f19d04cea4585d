"""The dense half of a model, from whatever kind of file it was saved to: see docs/dense-models.md."""
