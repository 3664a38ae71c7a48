"""Connections that are ended at once."""

from __future__ import annotations

import asyncio
import contextlib


def cut(transport: asyncio.WriteTransport) -> None:
    """End a connection and drop what was to be sent on it; nothing happens if it has ended.

    A TLS transport that was closed twice has forgotten its connection, which then ends by itself (asyncio's
    ``ssl_shutdown_timeout``). In early releases of Python 3.11, as Debian 12 has, its ``abort`` then fails.
    """
    with contextlib.suppress(AttributeError):
        transport.abort()
