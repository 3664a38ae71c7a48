"""Puts this folder on the path, for `otlp_collector`."""
