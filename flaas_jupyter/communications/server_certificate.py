"""The certificate with which a server of ours speaks TLS, and how it takes up a renewed one without a restart.

The files are those that every certificate tool writes: the chain in PEM, the server's own certificate first, and its
key. They are looked at every few seconds and on request (SIGHUP). A pair that does not fit, as while a tool is half
done writing, is told and left alone: the one in use goes on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import FlaasError, InvalidInput, NotAllowed
from .trust import CIPHERS

log = logging.getLogger(__name__)

LOOK: Final = 5.0
"""Seconds between two looks at the files."""

_Stamp = tuple[tuple[int, int, int], ...]


class ServerCertificate:
    """A chain and its key, in files.

    Parameters
    ----------
    chain : Path
        PEM: the server's certificate, then those of the authorities above it.
    key : Path
        PEM, without a passphrase. Its owner, and at most the group, may read it.
    renew : callable, optional
        Called before each look; may write the files anew.

    Raises
    ------
    InvalidInput
        Code ``bad-certificate``: a file is missing or no such thing, or the key belongs to another certificate.
    NotAllowed
        Code ``key-exposed``: others may read or change the key.
    """

    def __init__(self, chain: Path, key: Path, renew: Callable[[], None] | None = None) -> None:
        self._chain, self._key, self._renew = chain, key, renew
        self._stamp = self._present()
        self.context: ssl.SSLContext = self._loaded()
        """For servers; what it presents follows the files. TLS 1.3, or 1.2 with the ciphers that clients here take."""

    def reload(self, *, force: bool = False) -> bool:
        """Take up the files if they have changed, or in any case with `force`; tell whether that was done."""
        try:
            if self._renew is not None:
                self._renew()
            present = self._present()
            if present == self._stamp and not force:
                return False
            self._loaded()  # a context of its own first: half of a pair would leave the one in use without a key
            self.context.load_cert_chain(self._chain, self._key)
        except (FlaasError, OSError) as error:
            log.warning("the certificate in use is kept: %s", error)
            return False
        self._stamp = present
        log.info("the certificate in %s is in use from now on", self._chain)
        return True

    async def follow(self, every: float = LOOK) -> None:
        """Take up what changes, for ever."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.reload)

    def _present(self) -> _Stamp:
        try:
            found = [path.stat() for path in (self._chain, self._key)]
        except OSError as error:
            raise _unusable(f"{error.filename} cannot be read: {error.strerror}.") from error
        mode = stat.S_IMODE(found[1].st_mode)
        if mode & 0o027:
            raise NotAllowed(
                f"The key {self._key} can be read or changed by others (mode {mode:04o}).",
                code="key-exposed",
                hint=f"Run `chmod 600 {self._key}` (640 for a group of its own; in Kubernetes `defaultMode: 0440`); if "
                "others may have read it, have a new certificate made with another key.",
            )
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        try:
            context.load_cert_chain(self._chain, self._key, password=lambda: b"")  # never asks at a terminal
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise _unusable(f"{self._chain} and {self._key} are no certificate and its key ({reason}).") from error
        return context


def _unusable(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        code="bad-certificate",
        hint="Give the chain in PEM, the server's own certificate first, and its key in PEM without a passphrase.",
    )
