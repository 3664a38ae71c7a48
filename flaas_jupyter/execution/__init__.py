"""What runs beside the data: the node daemon, its data sets and policy, local training, and runs."""
