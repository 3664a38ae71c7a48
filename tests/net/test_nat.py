"""Two nodes that find a way through NATs, firewalls and proxies, or say why there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from namespaces import PROXY
from scattered import RELAY, RELAYS, Federation, proxy_of

pytestmark = pytest.mark.anyio
MODEL = 4 << 20
"""Bytes of a model of a million parameters."""


async def _until(found: Any, deadline: float = 20.0) -> None:
    async with asyncio.timeout(deadline):
        while not await found():
            await asyncio.sleep(0.1)


async def _until_known(federation: Federation, *nodes: str, what: str = "relays") -> None:
    async def known() -> bool:
        return all(federation.where.get(node, {}).get(what) for node in nodes)

    await _until(known)


async def test_two_cone_nats_are_punched_through_once_the_relay_has_introduced_both(federation: Federation) -> None:
    await federation.serve()
    a, b = await federation.join("a"), await federation.join("b")
    await _until_known(federation, a, b)
    assert (await federation.call(a, b))["same"]

    async def direct() -> bool:
        path = await federation.path(a)
        return path is not None and path["kind"] == "direct" and path["remote"].startswith("203.0.113.2:")

    await _until(direct)
    assert (await federation.call(a, b, MODEL))["same"]


@pytest.mark.long
async def test_two_cone_nats_without_a_relay_dial_at_the_same_time(federation: Federation) -> None:
    await federation.serve(relays=0)
    a, b = await federation.join("a", signals=True), await federation.join("b", signals=True)

    async def seen() -> bool:
        return all(
            any(address.startswith(public) for address in federation.where.get(node, {}).get("addresses", []))
            for node, public in ((a, "198.51.100.2:"), (b, "203.0.113.2:"))
        )

    await _until(seen)
    done = await federation.call(a, b)
    assert done["same"]
    assert done["seconds"] < 5
    assert (await federation.path(a))["kind"] == "direct"


async def _meet_at_a_relay(federation: Federation, *, relays: int) -> tuple[str, str, int]:
    """Have two nodes that cannot meet otherwise meet; return them, and which relay they are at."""
    for site in ("a", "b"):
        federation.lab.nat(site, "symmetric")
    await federation.serve(relays=relays)
    a, b = await federation.join("a", peer_timeout=8.0), await federation.join("b", peer_timeout=8.0)
    await _until_known(federation, a, b)
    assert (await federation.call(a, b))["same"]
    path = await federation.path(a)
    assert path["kind"] == "relay"
    return a, b, RELAYS.index(path["remote"])


@pytest.mark.long
async def test_a_relay_killed_in_mid_transfer_is_replaced_by_the_other(federation: Federation) -> None:
    a, b, first = await _meet_at_a_relay(federation, relays=2)
    sending = asyncio.create_task(federation.call(a, b, 96 << 20, seconds=120.0))
    await _until(lambda: _sent(federation, a, 8 << 20))
    await federation.kill_relay(first)
    done = await asyncio.wait_for(sending, 150)
    assert done.get("same"), done
    assert await federation.path(a) | {"rtt": 0} == {"kind": "relay", "remote": RELAYS[1 - first], "rtt": 0}
    assert await federation.sent(a) < (96 << 20) * 1.5, "what had arrived is not sent again"


@pytest.mark.long
async def test_the_only_relay_killed_in_mid_transfer_is_named_and_taken_up_again_when_it_is_back(
    federation: Federation,
) -> None:
    a, b, _ = await _meet_at_a_relay(federation, relays=1)
    sending = asyncio.create_task(federation.call(a, b, 96 << 20, seconds=90.0))
    await _until(lambda: _sent(federation, a, 8 << 20))
    await federation.kill_relay(0)
    error = (await asyncio.wait_for(sending, 120))["error"]
    assert error["code"] in ("peer-unreachable", "peer-lost", "transfer-stalled", "call-timed-out"), error
    again = (await federation.call(a, b))["error"]
    assert again["code"] == "peer-unreachable"
    assert RELAY in again["message"]
    await federation.start_relay(0)

    async def back() -> bool:
        return "same" in await federation.call(a, b, seconds=10.0)

    await _until(back, 60)


async def test_two_symmetric_nats_meet_at_the_relay(federation: Federation) -> None:
    federation.lab.nat("a", "symmetric")
    federation.lab.nat("b", "symmetric")
    await federation.serve()
    a, b = await federation.join("a"), await federation.join("b")
    await _until_known(federation, a, b)
    assert (await federation.call(a, b, MODEL))["same"]
    assert await federation.path(a) | {"rtt": 0} == {"kind": "relay", "remote": RELAY, "rtt": 0}


@pytest.mark.long
async def test_two_symmetric_nats_without_a_relay_are_told_to_get_one(federation: Federation) -> None:
    federation.lab.nat("a", "symmetric")
    federation.lab.nat("b", "symmetric")
    await federation.serve(relays=0)
    a, b = await federation.join("a", signals=True), await federation.join("b", signals=True)
    await _until_known(federation, a, b, what="addresses")
    error = (await federation.call(a, b))["error"]
    assert error["code"] == "peer-unreachable"
    assert "directly at" in error["message"]
    assert "it was asked to dial back, and has not been heard" in error["message"]
    assert "needs a relay" in error["hint"]


async def test_a_site_that_lets_out_tcp_443_only_gets_through_by_the_relay(federation: Federation) -> None:
    federation.lab.firewall("a", "https")
    await federation.serve()
    a, b = await federation.join("a"), await federation.join("b")
    await _until_known(federation, a, b)
    assert (await federation.call(a, b, MODEL))["same"]
    assert (await federation.call(b, a, MODEL))["same"]
    assert (await federation.path(a))["kind"] == (await federation.path(b))["kind"] == "relay"


@pytest.mark.parametrize("credentials", ["", "ward:p%40ss"])
async def test_a_site_with_only_a_proxy_gets_through_by_the_relay(federation: Federation, credentials: str) -> None:
    federation.lab.firewall("a", "closed")
    wanted = {"credentials": "ward:p@ss"} if credentials else {}
    await federation.lab.start("ra", "proxy_process.py", {"host": PROXY, "port": 3128, **wanted})
    await federation.serve()
    a = await federation.join("a", environment=proxy_of(credentials))
    b = await federation.join("b")
    await _until_known(federation, a, b)
    assert (await federation.call(a, b, MODEL))["same"]
    assert (await federation.path(a))["remote"] == RELAY


@pytest.mark.long
async def test_a_proxy_that_wants_a_password_which_is_not_known_is_named(federation: Federation) -> None:
    federation.lab.firewall("a", "closed")
    await federation.lab.start("ra", "proxy_process.py", {"host": PROXY, "port": 3128, "credentials": "ward:p@ss"})
    await federation.serve()
    a, b = await federation.join("a", environment=proxy_of()), await federation.join("b")
    await _until_known(federation, b)
    error = (await federation.call(a, b))["error"]
    assert error["code"] == "peer-unreachable"
    assert "wants a user and a password (407)" in error["message"]


@pytest.mark.long
async def test_never_direct_keeps_to_the_relay_where_a_direct_path_would_work(federation: Federation) -> None:
    await federation.serve(direct="never")
    a, b = await federation.join("a"), await federation.join("b")
    await _until_known(federation, a, b)
    assert federation.where[a]["addresses"] == federation.where[b]["addresses"] == []
    for _ in range(3):
        assert (await federation.call(a, b, MODEL))["same"]
    assert (await federation.path(a))["kind"] == "relay"


async def test_ipv6_alone_meets_ipv4_alone_at_the_relay(federation: Federation) -> None:
    federation.lab.with_ipv6_only("a")
    await federation.serve(six=True)
    a, b = await federation.join("a"), await federation.join("b")
    await _until_known(federation, a, b)
    assert (await federation.call(a, b, MODEL))["same"]
    assert (await federation.path(a))["kind"] == "relay"


@pytest.mark.long
async def test_a_new_lan_address_in_mid_transfer_does_not_end_it(federation: Federation) -> None:
    await federation.serve()
    a, b = await federation.join("a"), await federation.join("b")
    await _until_known(federation, a, b)
    assert (await federation.call(a, b))["same"]
    sending = asyncio.create_task(federation.call(a, b, 48 << 20, seconds=90.0))
    await _until(lambda: _sent(federation, a, 8 << 20))
    federation.lab.readdress("a", "10.11.0.2/24", "10.11.0.77/24", "10.11.0.1")
    done = await asyncio.wait_for(sending, 150)
    assert done.get("same"), done


async def _sent(federation: Federation, node: str, least: int) -> bool:
    return await federation.sent(node) >= least


@pytest.mark.long
async def test_a_new_public_address_in_mid_transfer_does_not_end_it(federation: Federation) -> None:
    await federation.serve()
    a, b = await federation.join("a", peer_timeout=10.0), await federation.join("b", peer_timeout=10.0)
    await _until_known(federation, a, b)
    assert (await federation.call(a, b))["same"]
    sending = asyncio.create_task(federation.call(a, b, 48 << 20, seconds=120.0))
    await _until(lambda: _sent(federation, a, 8 << 20))
    federation.lab.renumber("a", "198.51.100.2/24", "198.51.100.77/24", "198.51.100.1")
    done = await asyncio.wait_for(sending, 150)
    assert done.get("same"), done

    async def told() -> bool:
        return any(address.startswith("198.51.100.77:") for address in federation.where[a]["addresses"])

    await _until(told, 60)


async def test_a_site_that_lets_out_tcp_443_only_trains_over_tls_to_a_forwarded_port(
    federation: Federation,
) -> None:
    federation.lab.firewall("a", "https")
    federation.lab.forward("b", 443, "10.12.0.2:8443")
    await federation.serve(relays=0)
    listens = {"listen_tls": ["0.0.0.0:8443"], "announce_tls": ["203.0.113.2:443"]}
    a, b = await federation.join("a"), await federation.join("b", settings=listens)
    await _until_known(federation, b, what="tls")
    assert federation.where[b]["tls"][0] == "203.0.113.2:443"
    assert (await federation.call(a, b, MODEL))["same"]
    assert await federation.path(a) | {"rtt": 0} == {"kind": "tls", "remote": "203.0.113.2:443", "rtt": 0}
    assert (await federation.call(b, a, MODEL))["same"], "and back over the same connection"


@pytest.mark.long
async def test_a_new_address_in_mid_transfer_over_tls_is_a_new_connection(federation: Federation) -> None:
    federation.lab.forward("b", 443, "10.12.0.2:8443")
    await federation.serve(relays=0)
    only = {"carriers": ["tls"]}
    listens = {**only, "listen_tls": ["0.0.0.0:8443"], "announce_tls": ["203.0.113.2:443"]}
    a, b = await federation.join("a", settings=only), await federation.join("b", settings=listens)
    await _until_known(federation, b, what="tls")
    assert (await federation.call(a, b))["same"]
    sending = asyncio.create_task(federation.call(a, b, 256 << 20, seconds=90.0))
    await _until(lambda: _sent(federation, a, 8 << 20))
    federation.lab.readdress("a", "10.11.0.2/24", "10.11.0.77/24", "10.11.0.1")
    done = await asyncio.wait_for(sending, 150)
    assert done.get("same"), done
    assert await federation.sent(a) < (256 << 20) * 1.5, "what had arrived is not sent again"


@pytest.mark.long
@pytest.mark.parametrize("carrier", ["iroh", "tls"])
async def test_sites_that_are_far_apart_by_a_way_that_loses_packets(federation: Federation, carrier: str) -> None:
    federation.lab.forward("b", 443, "10.12.0.2:8443")
    await federation.lab.far_apart(0.050, 0.005)
    await federation.serve()
    only = {"carriers": [carrier]}
    listens = {"listen_tls": ["0.0.0.0:8443"], "announce_tls": ["203.0.113.2:443"]} if carrier == "tls" else {}
    a, b = await federation.join("a", settings=only), await federation.join("b", settings={**only, **listens})
    await _until_known(federation, b, what="tls" if carrier == "tls" else "relays")
    for _ in range(3):
        done = await federation.call(a, b, MODEL, seconds=120.0)
        assert done.get("same"), done
    path = await federation.path(a)
    assert path["kind"] == ("tls" if carrier == "tls" else "direct")
    assert path["rtt"] >= 0.045, "it was the long way"
