"""An organisation's HTTP proxy: CONNECT to port 443 and nothing else, perhaps with a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib

from lines import Lines, say


async def main() -> None:
    lines = await Lines.open()
    order = await lines.next()
    assert order is not None
    credentials = base64.b64encode(order["credentials"].encode()) if order.get("credentials") else None

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 18):
                target.write(data)
                await target.drain()
        target.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.decode().split()[:2]
        host, _, port = target.rpartition(":")
        if credentials and b"Proxy-Authorization: Basic " + credentials + b"\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        if method != "CONNECT" or port != "443":
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        far, far_out = await asyncio.open_connection(host.strip("[]"), 443)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copy(reader, far_out), copy(far, writer))

    await asyncio.start_server(tunnel, order["host"], order["port"], limit=1 << 20)
    say("up")
    while await lines.next():
        pass


if __name__ == "__main__":
    asyncio.run(main())
