"""Mathematics of vertical federated learning: private set intersection, encrypted gradients, leakage."""
