"""The hosted coordination API: who takes part, what runs, how far it is. Never weights, gradients or data."""
