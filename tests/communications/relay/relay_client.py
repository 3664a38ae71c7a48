"""A node's side of the relay protocol, down to the bytes, so that tests can also get it wrong."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import aiohttp
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flaas_jupyter.communications.identity import Identity

LABEL = "iroh-relay handshake v1 challenge signature"
VERSIONS = ("iroh-relay-v2", "iroh-relay-v1")
DEADLINE = 10.0


def answer_to(challenge: bytes, identity: Identity) -> bytes:
    """The client's part of the handshake: key, length of the signature, signature."""
    key = Ed25519PrivateKey.from_private_bytes(identity.seed)
    signature = key.sign(blake3(challenge, derive_key_context=LABEL).digest())
    return b"\x01" + bytes.fromhex(identity.node_id) + bytes([64]) + signature


def datagram(to: Identity, content: bytes) -> bytes:
    return b"\x04" + bytes.fromhex(to.node_id) + b"\x00" + content


def arrived(sender: Identity, content: bytes) -> bytes:
    return b"\x06" + bytes.fromhex(sender.node_id) + b"\x00" + content


class RelayClient:
    """One WebSocket connection to a relay."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.session, self.socket = session, socket

    @classmethod
    async def open(cls, url: str, versions: tuple[str, ...] = VERSIONS, **options: Any) -> Self:
        session = aiohttp.ClientSession()
        try:
            socket = await session.ws_connect(f"{url}/relay", protocols=versions, max_msg_size=1 << 20, **options)
        except BaseException:
            await session.close()
            raise
        return cls(session, socket)

    @classmethod
    async def join(cls, url: str, identity: Identity, versions: tuple[str, ...] = VERSIONS, **options: Any) -> Self:
        client = await cls.open(url, versions, **options)
        challenge = await client.frame()
        assert challenge[0] == 0
        assert len(challenge) == 17
        await client.send(answer_to(challenge[1:], identity))
        accepted = await client.frame()
        assert accepted == b"\x02", accepted
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        await self.socket.close()
        await self.session.close()

    async def send(self, frame: bytes) -> None:
        await self.socket.send_bytes(frame)

    async def frame(self) -> bytes:
        """Return the next frame."""
        return await asyncio.wait_for(self.socket.receive_bytes(), DEADLINE)

    async def frames_until_end(self) -> tuple[list[bytes], int | None, str]:
        """Return what still comes, and the code and reason with which the relay closes."""
        frames = []
        async with asyncio.timeout(DEADLINE):
            while True:
                message = await self.socket.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    frames.append(message.data)
                elif message.type is aiohttp.WSMsgType.CLOSE:
                    return frames, message.data, message.extra or ""
                else:
                    return frames, self.socket.close_code, ""

    async def sync(self) -> None:
        """Return when the relay has dealt with everything that was sent before."""
        await self.send(b"\x09" + b"in-order")
        while await self.frame() != b"\x0a" + b"in-order":
            pass
