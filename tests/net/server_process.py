"""A relay, on port 443 with TLS, and a reflector, in the namespace of public servers."""

from __future__ import annotations

import asyncio
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
    directory = Directory(order["domain"], order["domain_key"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(order["certificate"])
    admission = Admission([directory], api, 0.2)  # type: ignore[arg-type]
    reflector = await Reflector.bind(Identity(bytes.fromhex(order["seed"])), order["reflector"])
    answering = asyncio.create_task(reflector.serve())
    async with RelayServer(admission, order["host"], 443, tls=tls):
        say("up", reflector=reflector.node_id)
        while order := await lines.next():
            api.listing = order["listing"]
    await reflector.close()
    await answering


if __name__ == "__main__":
    asyncio.run(main())
