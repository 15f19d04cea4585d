"""Generated from protos/persia/v1 by `make proto`."""
