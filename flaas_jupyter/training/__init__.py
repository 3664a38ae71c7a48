"""One client's local training: what a node and a simulated client do alike, given a plan, rows and a seed."""
