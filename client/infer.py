"""`python client/infer.py` in a checkout asks a model on TorchServe for scores, as `persia-launcher infer` does."""

from persia.client.infer_command import infer

if __name__ == "__main__":
    infer()
