"""What operators see of a process: logs, metrics and traces. Nothing here tells of people, and no line holds a secret.

`logs` sets logging up for a daemon, `exposition` serves ``/metrics`` and ``/healthz``, `traces` makes spans, and
`allowed` is the list of what labels and attributes may say.
"""
