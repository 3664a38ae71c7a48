"""A relay with TLS, or a reflector, in the namespace of public servers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

from lines import Lines, say

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.reflector import Reflector
from flaas_jupyter.communications.relay.admission import Admission
from flaas_jupyter.communications.relay.server import RelayServer


class Api:
    """The directory that the test has told last."""

    def __init__(self, listing: dict[str, Any]) -> None:
        self.listing = listing

    async def get(self, path: str, *, retry_for: float | None = None) -> dict[str, Any]:
        return self.listing

    def etag(self, path: str) -> str | None:
        return None


async def main() -> None:
    lines = await Lines.open()
    order = await lines.next()
    assert order is not None
    api = Api(order["listing"])
    async with contextlib.AsyncExitStack() as stack:
        if "certificate" in order:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(order["certificate"])
            admission = Admission([Directory(order["domain"], order["domain_key"])], api, 0.2)  # type: ignore[arg-type]
            await stack.enter_async_context(RelayServer(admission, order["host"], order["port"], tls=tls))
        else:
            reflector = await Reflector.bind(Identity(bytes.fromhex(order["seed"])), order["reflector"])
            answering = asyncio.create_task(reflector.serve())
            stack.push_async_callback(asyncio.gather, answering, return_exceptions=True)
            stack.push_async_callback(reflector.close)
        say("up")
        while order := await lines.next():
            api.listing = order["listing"]


if __name__ == "__main__":
    asyncio.run(main())
