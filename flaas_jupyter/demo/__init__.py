"""A whole federation on this machine, for ``flaas demo``, ``flaas lab`` and the tests: real processes, real sockets."""
