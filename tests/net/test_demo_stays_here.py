"""The whole demo, on a machine whose cable is watched: nothing leaves it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from namespaces import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(900)]


async def test_no_packet_of_the_demo_leaves_the_machine(tmp_path: Path) -> None:
    with Lab() as lab:
        try:
            for setting in ("all", "default"):  # or the kernel itself looks for routers
                lab.inside("a", "sysctl", "-qw", f"net.ipv6.conf.{setting}.disable_ipv6=1")
            lab.inside("a", "sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=0")
            watch = await lab.start("ra", "capture_process.py", {"device": "lan"})
            process = await asyncio.create_subprocess_exec(
                "ip", "netns", "exec", lab.space("a"), sys.executable, "-m", "flaas_jupyter.cli", "demo",
                env={**os.environ, "FLAAS_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said = (await asyncio.wait_for(process.communicate(), 600))[0].decode()
            assert process.returncode == 0, said[-4000:]
            assert "accuracy" in said
            left = [line["hex"] for line in watch.said if line["event"] == "frame"]
            assert left == [], "these have left the machine"
        finally:
            await lab.end()


async def test_what_leaves_the_machine_is_seen() -> None:
    """The watch works: one datagram to nobody is seen."""
    with Lab() as lab:
        try:
            watch = await lab.start("ra", "capture_process.py", {"device": "lan"})
            send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('192.0.2.99', 9))"
            lab.inside("a", sys.executable, "-c", send)
            await watch.expect("frame", 10)
        finally:
            await lab.end()
