"""Puts this folder on the path, for `vertical_world`."""
