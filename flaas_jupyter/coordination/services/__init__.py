"""What the API does, one module per resource; each function works in the session that it is given."""
