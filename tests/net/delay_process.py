"""A long way between two networks: every packet is held for a while, and some are lost.

The kernel's own (netem) is not in every kernel. This one is a TUN device that its namespace routes packets through.
"""

from __future__ import annotations

import asyncio
import collections
import fcntl
import os
import random
import struct

from lines import Lines, say

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_LONGEST_QUEUE = 1 << 14
DEVICE = "delay0"


class Delay:
    """Packets on their way through the device."""

    def __init__(self, seconds: float, loss: float) -> None:
        self._seconds, self._loss = seconds, loss
        self._chance = random.Random(0)
        self._queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self._device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self._device, _TUNSETIFF, struct.pack("16sH", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._device, self._take)

    def _take(self) -> None:
        for _ in range(256):
            try:
                packet = os.read(self._device, 1 << 16)
            except BlockingIOError:
                return
            if self._chance.random() < self._loss or len(self._queue) >= _LONGEST_QUEUE:
                continue
            self._queue.append((self._loop.time() + self._seconds, packet))
            if len(self._queue) == 1:
                self._loop.call_at(self._queue[0][0], self._give)

    def _give(self) -> None:
        while self._queue and self._queue[0][0] <= self._loop.time():
            os.write(self._device, self._queue.popleft()[1])
        if self._queue:
            self._loop.call_at(self._queue[0][0], self._give)


async def main() -> None:
    lines = await Lines.open()
    order = await lines.next()
    assert order is not None
    Delay(order["seconds"], order["loss"])
    say("up")
    while await lines.next():
        pass


if __name__ == "__main__":
    asyncio.run(main())
