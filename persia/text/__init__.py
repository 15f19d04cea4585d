"""Text models as Hugging Face's transformers save them: classification, tagging, question answering, embeddings.

settings      what setup_config.json and the `handler:` part of model-config.yaml say
labels        the names of the classes, from index_to_name.json in all its forms
tokenizer     texts -> token ids, with the `tokenizers` library alone where it can be
engines       model files -> something that takes token ids: save_pretrained folders, TorchScript, ONNX
tasks         what the model gave -> what it means: labels, spans, vectors
model         TextModel, which puts these together
requests      what callers send -> texts and wishes
wishes        the form of an answer, how many labels, what is to be explained
answers       what goes back: the example's bytes, or JSON
explanations  integrated gradients
"""

from .model import TextModel
from .settings import TextSettings

__all__ = ["TextModel", "TextSettings"]
