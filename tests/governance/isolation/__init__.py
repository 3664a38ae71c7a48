"""Isolation of organisations from each other."""
