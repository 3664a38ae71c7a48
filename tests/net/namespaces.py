"""Networks of network namespaces: two sites, each behind a router of its own, and public servers.

    a -- ra -- internet -- rb -- b
                  |
                server

Needs root, iproute2 and nftables; ``python tests/net/namespaces.py`` installs both where they are missing, on Debian.
Nothing of it leaves the namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
SERVER = "192.0.2.10"
SERVER6 = "2001:db8:5::10"
PROXY = "10.11.0.1"
Nat = Literal["cone", "symmetric"]
Firewall = Literal["open", "https", "closed"]

_ETC = Path("/etc/netns")  # `ip netns exec` lays what is there over /etc
_HOSTS = (
    f"127.0.0.1 localhost\n::1 localhost\n{SERVER} relay.example\n{SERVER6} relay.example\n{SERVER} relay2.example\n"
)
_MASQUERADE = {"cone": "masquerade persistent", "symmetric": "masquerade fully-random"}
_OUT = {
    "open": ["iifname lan accept"],
    "https": ["iifname lan tcp dport 443 accept"],
    "closed": [],
}


def missing() -> str | None:
    """Return why there can be no such networks here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not (shutil.which("ip") and shutil.which("nft")):
        return "network namespaces need iproute2 and nftables: python tests/net/namespaces.py"
    # Root in a container may be allowed neither, and a kernel may not know how to masquerade.
    chain = f"type nat hook postrouting priority 100\n{_MASQUERADE['cone']}"
    rules = f"table inet nat {{\nchain post {{\n{chain}\n}}\n}}\n"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
    )
    return f"network namespaces cannot be made here: {tried.stderr.strip()[:200]}" if tried.returncode else None


def install() -> str:
    """Install Debian's packages where they are missing and this is Debian and root; say what there is now."""
    programs = all(shutil.which(name) for name in ("ip", "nft"))
    if not programs and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in ("update", "install iproute2 nftables procps"):
            words = ["apt-get", "-q", "-y", *command.split()]
            subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
    why_not = missing()
    return f"Networks: {why_not}. Their tests are skipped." if why_not else "Networks: namespaces can be made."


class Lab:
    """Six namespaces; make them with ``with``, which also ends what runs in them."""

    def __init__(self) -> None:
        self._name = f"flaas-{secrets.token_hex(3)}-"
        self._spaces = ("a", "ra", "internet", "rb", "b", "server")
        self.processes: list[Process] = []

    def __enter__(self) -> Lab:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        for space in self._spaces:
            _run("ip", "netns", "add", self._name + space)
            (_ETC / (self._name + space)).mkdir(parents=True)
            (_ETC / (self._name + space) / "hosts").write_text(_HOSTS)
            self.inside(space, "ip", "link", "set", "lo", "up")
            self.inside(space, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._link("a", "eth0", "10.11.0.2/24", "ra", "lan", "10.11.0.1/24")
        self._link("b", "eth0", "10.12.0.2/24", "rb", "lan", "10.12.0.1/24")
        self._link("ra", "wan", "198.51.100.2/24", "internet", "ra", "198.51.100.1/24")
        self._link("rb", "wan", "203.0.113.2/24", "internet", "rb", "203.0.113.1/24")
        self._link("server", "eth0", f"{SERVER}/24", "internet", "server", "192.0.2.1/24")
        for space, gateway in (
            ("a", "10.11.0.1"),
            ("b", "10.12.0.1"),
            ("ra", "198.51.100.1"),
            ("rb", "203.0.113.1"),
            ("server", "192.0.2.1"),
        ):
            self.inside(space, "ip", "route", "add", "default", "via", gateway)
        for site in ("a", "b"):
            self.nat(site, "cone")
            self.firewall(site, "open")

    def __exit__(self, *exc: object) -> None:
        for space in self._spaces:
            shutil.rmtree(_ETC / (self._name + space), ignore_errors=True)
            subprocess.run(["ip", "netns", "del", self._name + space], check=False, capture_output=True)

    def space(self, name: str) -> str:
        """Return what a namespace is called outside."""
        return self._name + name

    def load(self, space: str, rules: str) -> None:
        """Load rules of nftables in a namespace."""
        command = ["ip", "netns", "exec", self._name + space, "nft", "-f", "-"]
        subprocess.run(command, input=rules, text=True, check=True)

    def inside(self, space: str, *command: str) -> str:
        """Run a command in a namespace and return what it printed."""
        return _run("ip", "netns", "exec", self._name + space, *command)

    def nat(self, site: str, kind: Nat) -> None:
        """Translate the site's addresses: to the same port for every destination, or to another for each."""
        self._table(
            site,
            "nat",
            "chain post { type nat hook postrouting priority 100; }",
            [("post", f"oifname wan {_MASQUERADE[kind]}")],
        )

    def firewall(self, site: str, kind: Firewall) -> None:
        """Let out everything, TCP to port 443, or nothing; and in what answers."""
        self._table(
            site,
            "filter",
            "chain out { type filter hook forward priority 0; policy drop; }\n"
            "chain router { type filter hook input priority 0; }",
            [
                ("out", "ct state established,related accept"),
                *(("out", rule) for rule in _OUT[kind]),
                # Unasked packets to the router itself are dropped, and leave no trace in its table of connections.
                ("router", "iifname wan ct state new drop"),
            ],
        )

    def with_ipv6_only(self, site: str) -> None:
        """Give a site IPv6 in place of IPv4, and the server both."""
        for space, interface, address in (
            (site, "eth0", "2001:db8:1::2/64"),
            (f"r{site}", "lan", "2001:db8:1::1/64"),
            (f"r{site}", "wan", "2001:db8:2::2/64"),
            ("internet", f"r{site}", "2001:db8:2::1/64"),
            ("internet", "server", "2001:db8:5::1/64"),
            ("server", "eth0", f"{SERVER6}/64"),
        ):
            self.inside(space, "ip", "-6", "addr", "add", address, "dev", interface, "nodad")
        self.inside(site, "ip", "-4", "addr", "flush", "dev", "eth0")
        for space, destination, gateway in (
            (site, "default", "2001:db8:1::1"),
            (f"r{site}", "default", "2001:db8:2::1"),
            ("internet", "2001:db8:1::/64", "2001:db8:2::2"),
            ("server", "default", "2001:db8:5::1"),
        ):
            self.inside(space, "ip", "-6", "route", "add", destination, "via", gateway)

    def forward(self, site: str, port: int, to: str) -> None:
        """Have a router pass one TCP port from outside on to ``ip:port`` of its site, as its administrators would."""
        rules = [
            "add chain inet nat before { type nat hook prerouting priority -100; }",
            f"add rule inet nat before iifname wan tcp dport {port} dnat ip to {to}",
            "add rule inet filter out ct status dnat accept",
        ]
        for rule in rules:
            self.inside(f"r{site}", "nft", rule)

    async def far_apart(self, round_trip: float, loss: float) -> None:
        """Let the sites be `round_trip` seconds from each other, and lose this part of all packets each way."""
        await self.start("internet", "delay_process.py", {"seconds": round_trip / 2, "loss": loss})
        self.inside("internet", "ip", "link", "set", "delay0", "up")
        self.inside("internet", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.delay0.rp_filter=0")
        self.inside("internet", "ip", "route", "add", "default", "dev", "delay0", "table", "100")
        for site in ("a", "b"):
            self.inside("internet", "ip", "rule", "add", "iif", f"r{site}", "lookup", "100")

    def readdress(self, site: str, old: str, new: str, gateway: str) -> None:
        """Give a site's machine another address, as when it changes from one network to another."""
        self.inside(site, "ip", "addr", "del", old, "dev", "eth0")
        self.inside(site, "ip", "addr", "add", new, "dev", "eth0")
        self.inside(site, "ip", "route", "add", "default", "via", gateway)

    def renumber(self, site: str, old: str, new: str, gateway: str) -> None:
        """Give a site's router another public address; masquerading forgets the connections of the old one."""
        router = f"r{site}"
        self.inside(router, "ip", "addr", "del", old, "dev", "wan")
        self.inside(router, "ip", "addr", "add", new, "dev", "wan")
        self.inside(router, "ip", "route", "add", "default", "via", gateway)

    async def start(
        self, space: str, script: str, order: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> Process:
        """Run one of the scripts beside this file in a namespace; it is told `order`, and answers when it is up."""
        process = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self._name + space, sys.executable, str(HERE / script),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self.processes.append(Process(process))
        self.processes[-1].tell(**order)
        self.processes[-1].up = await self.processes[-1].expect("up")
        return self.processes[-1]

    async def end(self) -> None:
        """End all processes."""
        for process in self.processes:
            await process.end()

    def _link(self, one: str, interface: str, address: str, other: str, far: str, far_address: str) -> None:
        name, far_name = self._name + one, self._name + other
        _run("ip", "link", "add", interface, "netns", name, "type", "veth", "peer", "name", far, "netns", far_name)
        for space, device, ip in ((one, interface, address), (other, far, far_address)):
            self.inside(space, "ip", "addr", "add", ip, "dev", device)
            self.inside(space, "ip", "link", "set", device, "up")

    def _table(self, site: str, table: str, chains: str, rules: list[tuple[str, str]]) -> None:
        lines = [f"table inet {table}", f"delete table inet {table}", f"table inet {table} {{\n{chains}\n}}"]
        lines += [f"add rule inet {table} {chain} {rule}" for chain, rule in rules]
        self.load(f"r{site}", "\n".join(lines) + "\n")


class Process:
    """A process that is told JSON lines and answers in JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []
        """Lines that nobody has waited for yet."""
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())
        self.on_said: Callable[[dict[str, Any]], None] | None = None
        self.up: dict[str, Any] = {}

    def tell(self, **what: Any) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def expect(self, event: str, deadline: float = 60.0) -> dict[str, Any]:
        """Return the next line with this event."""

        def found() -> dict[str, Any] | None:
            return next((said for said in self.said if said["event"] == event), None)

        async with asyncio.timeout(deadline), self._news:
            await self._news.wait_for(lambda: found() is not None or self._reader.done())
            said = found()
            assert said is not None, f"the process ended without {event!r}"
            self.said.remove(said)
            return said

    async def ask(self, event: str, deadline: float = 60.0, **what: Any) -> dict[str, Any]:
        """Send a line, and return the answer."""
        self.tell(do=event, **what)
        return await self.expect(event, deadline)

    async def kill(self) -> None:
        """End the process without a chance to say so."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def end(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if self.on_said is not None:
                self.on_said(said)
            async with self._news:
                self.said.append(said)
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


if __name__ == "__main__":
    print(install())
