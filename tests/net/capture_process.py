"""Every frame that comes out of a machine, as whoever holds the other end of its cable sees it."""

from __future__ import annotations

import asyncio
import socket

from lines import Lines, say

_EVERYTHING = 3  # ETH_P_ALL


async def main() -> None:
    lines = await Lines.open()
    order = await lines.next()
    assert order is not None
    cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    cable.setblocking(False)
    cable.bind((order["device"], 0))

    def take() -> None:
        while True:
            try:
                frame, (_, _, direction, *_) = cable.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if direction != socket.PACKET_OUTGOING:
                say("frame", hex=frame[:120].hex())

    asyncio.get_running_loop().add_reader(cable, take)
    say("up")
    while await lines.next():
        pass


if __name__ == "__main__":
    asyncio.run(main())
