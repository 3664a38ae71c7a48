"""Vertical federated learning: what each party does, over an `Exchange`."""
