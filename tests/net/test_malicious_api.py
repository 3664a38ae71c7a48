"""A coordination API in the wrong hands: it passes on what it likes, and can make nobody a member."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scattered import DOMAIN, Federation

from flaas_jupyter.communications.identity import Identity

pytestmark = pytest.mark.anyio


async def _two(federation: Federation) -> tuple[str, str]:
    await federation.serve()
    a, b = await federation.join("a"), await federation.join("b")
    async with asyncio.timeout(20):
        while not all(federation.where.get(node, {}).get("relays") for node in (a, b)):
            await asyncio.sleep(0.1)
    return a, b


async def test_a_key_put_in_place_of_another_is_not_believed(federation: Federation) -> None:
    """The API has keys of its own for everything, but for the domain's."""
    a, b = await _two(federation)
    assert (await federation.call(a, b))["same"]
    api = Identity.generate()
    evil = await federation.join("server", key=api)
    federation.lie(lambda listing: _swap_key(listing, b, evil, api))
    assert await federation.refused(a) == "domain-key-changed"
    error = (await federation.call(a, evil))["error"]
    assert error["code"] == "unknown-peer"
    assert (await federation.call(a, b))["same"], "who is a member stays one, whatever is listed in its place"


def _swap_key(listing: dict[str, Any], old: str, new: str, api: Identity) -> None:
    listing["domain_key"] = api.node_id
    for membership in listing["memberships"]:
        if membership["body"]["node_id"] == old:
            membership["body"]["node_id"] = new
    listing["records"] = [record for record in listing["records"] if record["body"]["node_id"] != old]


async def test_a_node_that_the_api_adds_is_let_in_by_nobody(federation: Federation) -> None:
    await federation.serve()
    nodes = []
    for site, lan, public in (("a", "10.11.0.2", "198.51.100.2"), ("b", "10.12.0.2", "203.0.113.2")):
        federation.lab.forward(site, 443, f"{lan}:8443")  # or it would not even come to their doors
        listens = {"listen_tls": ["0.0.0.0:8443"], "announce_tls": [f"{public}:443"]}
        nodes.append(await federation.join(site, settings=listens))
        await federation.recorded(nodes[-1])
    a, b = nodes
    evil = await federation.join("server", key=Identity.generate())
    for member in (a, b):
        error = (await federation.call(evil, member))["error"]
        assert (error["code"], error["details"]["reason"]) == ("refused-by-peer", "unknown-peer"), error
        assert (await federation.call(member, evil))["error"]["code"] == "unknown-peer"
    assert (await federation.call(a, b))["same"]


async def test_an_old_record_is_not_taken_for_a_new_one(federation: Federation) -> None:
    """Replayed, it would send calls to where a node was: to whoever has that address now."""
    federation.lab.forward("b", 443, "10.12.0.2:8443")
    await federation.serve(relays=0)
    only = {"carriers": ["tls"]}
    listens = {**only, "listen_tls": ["0.0.0.0:8443"]}
    b = await federation.join("b", settings={**listens, "announce_tls": ["198.51.100.2:443"]})
    old = await federation.recorded(b)
    await federation.leave(b)
    del federation.where[b]
    again = await federation.join("b", settings={**listens, "announce_tls": ["203.0.113.2:443"]}, as_node=b)
    assert again == b
    async with asyncio.timeout(20):
        while (newer := await federation.recorded(b)) == old:
            await asyncio.sleep(0.05)
    assert newer["body"]["sequence"] > old["body"]["sequence"]
    a = await federation.join("a", settings=only)
    assert (await federation.call(a, b))["same"]
    federation.lie(lambda listing: listing.update(records=[old]))
    await federation.cut(a)
    assert (await federation.call(a, b))["same"]
    assert (await federation.path(a))["remote"] == "203.0.113.2:443"


async def test_a_changed_record_and_a_changed_network_are_thrown_away(federation: Federation) -> None:
    a, b = await _two(federation)

    def changed(listing: dict[str, Any]) -> None:
        for record in listing["records"]:
            record["body"]["addresses"] = ["198.51.100.66:1"]
        listing["network"]["body"]["relays"][0]["url"] = "https://evil.example"

    federation.lie(changed)
    done = await federation.call(a, b)
    assert done.get("same") or done["error"]["code"] == "no-address", done
    federation.lie(None)
    assert (await federation.call(a, b))["same"]
    assert DOMAIN in federation.listing["domain"]
