"""Launching machines so that no crash leaves an orphan and none is launched twice.

What is to be done is committed before any cloud is asked (`tables`, `plan`); a `worker` then makes and repeats the
calls, each with a token of its own, until the clouds say what the data base says. A `reaper` looks for machines that
the data base does not know, and `usage` tells what the machines have cost so far.
"""
