"""`python client/manage.py` in a checkout manages the dense models on a TorchServe, as `persia-launcher manage` does."""

from persia.client.manage_command import manage

if __name__ == "__main__":
    manage()
