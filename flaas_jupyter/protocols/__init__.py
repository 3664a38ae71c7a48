"""The mathematics of federated learning: pure functions and small state machines on arrays, without I/O.

Nothing here opens a socket, a file or a database, and nothing knows Keras; numpy, `cryptography` and the
standard library are all that is imported, so that every protocol can be checked on its own and run anywhere.
"""
