"""What the clouds have billed: FOCUS rows in, one table of charges, and sums of it by project, service and day."""
