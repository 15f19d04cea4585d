"""`python client/infer.py` in a checkout asks a model on TorchServe for scores, as `persia-launcher infer` does."""

from persia.launcher import run_script

if __name__ == "__main__":
    run_script("infer")
