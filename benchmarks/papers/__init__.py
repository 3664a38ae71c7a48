"""The papers' experiments on simulated clients: `make papers`."""
