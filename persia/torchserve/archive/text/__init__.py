"""`persia-launcher archive --transformers`: a folder of a text model becomes an archive that needs no network.

folder        what lies in the folder, and what is refused of it
sentences     what the files of sentence-transformers say of embeddings
samples       texts to try it on, a user's or some of our own making
answers       what a text model gives for samples, in a form that can be compared
conversion    the model in the form in which it is served: as it is, TorchScript or ONNX, in float32 or int8
packing       puts these together
"""
