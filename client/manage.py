"""`python client/manage.py` in a checkout manages the dense models on a TorchServe, as `persia-launcher manage` does."""

from persia.launcher import run_script

if __name__ == "__main__":
    run_script("manage")
