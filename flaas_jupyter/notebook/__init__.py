"""The kernel side of the user interface: magics, and how errors are shown."""
