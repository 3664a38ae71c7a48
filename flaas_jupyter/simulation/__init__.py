"""Federations simulated on one machine or a Ray cluster: thousands of clients, attacks, defences."""
