"""``flaas doctor --network``: what this network lets through, and what to ask of those who run it.

Looked at are the coordination API, what the projects' signed network documents name (relays and reflectors), and the
TCP ports that members list for TLS; no other host is ever contacted. Each finding's advice names the address, protocol
and port, so that it can be handed to a network team as it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from .communications import probes
from .communications.coordinator import Coordinator, Credentials, NodeKey
from .communications.directory import Directory
from .communications.identity import Identity
from .communications.iroh_endpoint import LOOPBACK
from .communications.mesh_settings import EVERYWHERE, MeshSettings
from .communications.network import Network, ReflectorSite, RelaySite
from .communications.probes import Echo
from .communications.trust import Trust, is_loopback, unreachable
from .doctor import Finding
from .errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated
from .execution.enrolment import Enrolment
from .execution.mesh_carrier import settings_of
from .home import Home
from .signing_in import caller, url_of

_CONNECT_SECONDS = 5.0
_CLOCK_WARNING, _CLOCK_PROBLEM = 5.0, 30.0
"""Seconds: a node's request is good for 60 s, and a directory record for minutes."""
_CERTIFICATE_DAYS = 14
_MOST_PEERS = 16


def examine_network(home: Home) -> list[Finding]:
    """Look at every way out that this machine's role needs; a check that itself fails is a finding.

    Parameters
    ----------
    home : Home
        Says where the API is, which projects were joined from here, and how the mesh is set up.
    """
    package = logging.getLogger("flaas_jupyter")
    level = package.level
    package.setLevel(logging.CRITICAL)  # what is wrong is in the findings
    try:
        return asyncio.run(_collected(home))
    finally:
        package.setLevel(level)


async def _collected(home: Home) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async for finding in _findings(home):
            findings.append(finding)
    except FlaasError as error:
        findings.append(Finding("network", "problem", error.message, error.hint))
    except Exception as error:  # the doctor must not fall ill itself
        findings.append(Finding("network", "problem", f"{type(error).__name__}: {error}"))
    return findings


async def _findings(home: Home) -> AsyncIterator[Finding]:
    here = _Here.of(home)
    trust = Trust.of(home, here.url)
    proxy = _proxy_of(here.url)
    yield _told_proxy(here.url, proxy)
    reached = True
    async for finding in _ways_to_api(here.url, trust, proxy):
        reached = reached and finding.state != "problem"
        yield finding
    directories, refusals = await _directories(home, here, trust, reached)
    networks = [directory.network for directory in directories if directory.network is not None]
    for finding in (*refusals, _told_networks(here, networks)):
        yield finding
    settings = settings_of(home, api=here.url)
    direct = settings.direct_with(networks)
    quic = "iroh" in settings.carriers
    reflectors = list({site.node_id: site for network in networks for site in network.reflectors}.values())
    relays = list({site.url: site for network in networks for site in network.relays}.values()) if quic else []
    echoes: list[Echo] = []
    if quic and direct != "never" and reflectors:
        try:
            echoes = await probes.echoes(here.identity, settings.with_any_port().listen, reflectors)
        except InvalidInput as error:
            yield Finding("UDP", "warning", error.message, error.hint)
    for finding in _told_echoes(echoes, settings):
        yield finding
    over_tls = []
    if "tls" in settings.carriers and direct != "never":
        over_tls = [
            await _own_tls(address, here.identity, settings)
            for address in settings.listen_tls
            if address not in LOOPBACK  # where all is on one machine any port does
        ]
        over_tls += await _tls_of_others(here.identity.node_id, directories)
    for finding in over_tls:
        yield finding
    through = [] if direct == "only" else await asyncio.gather(*(_relay(site, settings) for site in relays))
    for finding in through:
        yield finding
    yield _verdict(
        direct,
        reflectors,
        [echo for echo in echoes if echo.seen],
        [site for site, finding in zip(relays, through, strict=False) if finding.state == "ok"],
        quic=quic,
        tls=any(finding.state == "ok" for finding in over_tls),
    )


_THIS_MACHINE = dict(zip((address.rpartition(":")[0] for address in EVERYWHERE), ("127.0.0.1", "[::1]"), strict=True))


# ---- who and where --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Here:
    """Who this machine is at which API, and in which projects, with their pinned domain keys."""

    url: str
    identity: Identity
    projects: Mapping[str, str]
    credentials: Credentials | None

    @classmethod
    def of(cls, home: Home) -> _Here:
        if home.enrolment.exists() and (enrolment := Enrolment.load(home.enrolment)).url:
            identity = Identity.load_or_create(home.key)
            return cls(enrolment.url, identity, enrolment.projects, NodeKey(identity))
        credentials: Credentials | None = None
        with suppress(NotAuthenticated):
            credentials = caller(home)[1]
        url = url_of(home)
        identity = Identity.load_or_create(home.key) if home.key.exists() else Identity.generate()
        return cls(url, identity, _pinned(home, url), credentials)


def _pinned(home: Home, url: str) -> dict[str, str]:
    """Return the projects that notebooks have used from here, with the domain keys that they have pinned."""
    path = home.path / "pinned.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        named = {name.partition(" "): str(key) for name, key in known.items()}
    except (OSError, ValueError, AttributeError):
        return {}
    return {project: key for (at, _, project), key in named.items() if at == url}


async def _directories(home: Home, here: _Here, trust: Trust, reached: bool) -> tuple[list[Directory], list[Finding]]:
    """Return what is known of each project, from the API if it is reached, else from before; and its refusals."""
    refusals = []
    directories = [
        Directory(project, key, home.domain_statements(project, key)) for project, key in here.projects.items()
    ]
    async with Coordinator(here.url, here.credentials, trust=trust, retry_for=0) as coordinator:
        for directory in directories if reached else ():
            try:
                directory.update(await coordinator.get(f"/v1/projects/{quote(directory.domain, safe='')}/directory"))
            except FlaasError as error:
                refusals.append(Finding(f"directory of {directory.domain}", "problem", error.message, error.hint))
    return directories, refusals


def _told_networks(here: _Here, networks: Sequence[Network]) -> Finding:
    if not here.projects:
        return Finding(
            "network document",
            "warning",
            "no project was used from here yet, so it is not known which relays and reflectors there are",
            "Join with `flaas node join`, or open the project in a notebook, and run this again.",
        )
    named = ", ".join(
        f"{each.domain}: {_counted(each.relays, 'relay')}, {_counted(each.reflectors, 'reflector')}, "
        f"direct {each.direct}"
        for each in networks
    )
    if not named:
        return Finding(
            "network document",
            "warning",
            f"none in {', '.join(here.projects)}: nodes reach each other only where their UDP ports are open",
            "If nodes are behind firewalls, the project's administrator names relays with `flaas domain network`.",
        )
    return Finding("network document", "ok", named)


def _counted(sites: Sequence[object], noun: str) -> str:
    return f"{len(sites)} {noun if len(sites) == 1 else noun + 's'}"


# ---- the API --------------------------------------------------------------------------------------------------------


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for `url`, as httpx takes it."""
    parts, found = urlsplit(url), getproxies()
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    return found.get(parts.scheme) or found.get("all") or None


def _told_proxy(url: str, proxy: str | None) -> Finding:
    if proxy is None:
        return Finding("proxy", "ok", "none in the environment for this API")
    return Finding("proxy", "ok", f"{_without_password(proxy)} (from the environment) leads to {url}")


async def _ways_to_api(url: str, trust: Trust, proxy: str | None) -> AsyncIterator[Finding]:
    """Yield what a connection to the API meets, in this order, up to what stands in the way."""
    host, port = _target(proxy or url)
    what = "proxy" if proxy else "API"
    yield (named := await _name(what, host))
    if named.state == "problem":
        return
    yield (open_ := await _tcp(what, host, port))
    if open_.state == "problem":
        return
    async for finding in _https(url, trust, proxy):
        yield finding


async def _name(what: str, host: str) -> Finding:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        why = "the name server does not answer" if isinstance(error, TimeoutError) else "the name is not known here"
        return Finding(
            f"{what} name",
            "problem",
            f"{host}: {why}",
            f"Ask your network team to have this machine's name server resolve {host}; check that it is spelt right. "
            "If only a proxy leads out of this network, set HTTPS_PROXY=http://PROXY:PORT.",
        )
    return Finding(f"{what} name", "ok", f"{host}: {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}")


async def _tcp(what: str, host: str, port: int) -> Finding:
    since = time.monotonic()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        silent = isinstance(error, TimeoutError)
        why = (
            f"no answer within {_CONNECT_SECONDS:g} s, as when a firewall drops packets"
            if silent
            else f"{_reason(error)}, as when nothing listens there or a firewall rejects it"
        )
        beside = "" if what == "proxy" else " If only a proxy leads out of this network, set HTTPS_PROXY."
        return Finding(
            f"{what} TCP",
            "problem",
            f"{host}:{port}: {why}",
            f"Check that it runs; ask your network team to allow TCP from this machine to {host} port {port}.{beside}",
        )
    return Finding(f"{what} TCP", "ok", f"{host}:{port} connected in {_ms(time.monotonic() - since)}")


async def _https(url: str, trust: Trust, proxy: str | None) -> AsyncIterator[Finding]:
    """Yield what the API answers, with the certificate and the clock that it shows."""
    host, port = _target(url)
    options = {"verify": trust.context(), "trust_env": not is_loopback(url), "timeout": _CONNECT_SECONDS}
    try:
        async with httpx.AsyncClient(**options) as http:  # type: ignore[arg-type]
            before = time.time()
            async with http.stream("GET", f"{url}/v1/health") as response:
                after = time.time()
                connection = response.extensions["network_stream"].get_extra_info("ssl_object")
                await response.aread()
    except httpx.ProxyError as error:
        yield _refused_by_proxy(str(error), _without_password(proxy or "the proxy"), host, port)
        return
    except httpx.HTTPError as error:
        problem = unreachable(url, error)
        what = "API TLS" if problem.code.startswith("tls-") else "API"
        silent = isinstance(error, httpx.TimeoutException)
        found = f"{url} takes connections and does not answer within {_CONNECT_SECONDS:g} s" if silent else None
        advice = f"Look at the API's log; ask your network team what stands between this machine and {host}:{port}."
        yield Finding(what, "problem", found or problem.message, advice if silent else problem.hint)
        return
    if connection is not None:
        yield _told_tls(connection, trust)
    if not response.is_success or "version" not in _object(response):
        yield Finding(
            "API",
            "problem",
            f"{url} answers {response.status_code}, not as a coordination API does",
            f"Check the URL. If it is right, a proxy or login page answers in its place: ask your network team to let "
            f"HTTPS to {host} port {port} pass as it is.",
        )
        return
    yield Finding("API", "ok", f"{url}, version {_object(response)['version']}")
    yield _told_clock(response.headers.get("Date"), before, after)


def _refused_by_proxy(error: str, proxy: str, host: str, port: int) -> Finding:
    if error.startswith("407"):
        return Finding(
            "proxy",
            "problem",
            f"{proxy} wants a user and a password (407)",
            "Set HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT; for the mesh, FLAAS_PROXY_USER and FLAAS_PROXY_PASSWORD.",
        )
    return Finding(
        "proxy",
        "problem",
        f"{proxy} does not lead to {host}:{port}: {error}",
        f"Ask your network team to allow CONNECT through the proxy to {host} port {port}.",
    )


def _told_tls(connection: ssl.SSLObject, trust: Trust) -> Finding:
    """Tell of a certificate that has passed: by whom, so that one sees where TLS is inspected, and for how long."""
    certificate: dict[str, Any] = dict(connection.getpeercert() or {})
    issuer = {name: value for entry in certificate.get("issuer", ()) for name, value in entry}
    by = issuer.get("organizationName") or issuer.get("commonName") or "an authority without a name"
    left = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
    how = "pinned" if trust.pem else "trusted by the system"
    found = f"{connection.version()}, certificate by {by} ({how}), good for {max(0, int(left))} days"
    if left < _CERTIFICATE_DAYS:
        return Finding("API TLS", "warning", found, "Its administrator should renew the certificate now.")
    return Finding("API TLS", "ok", found)


def _told_clock(date: str | None, before: float, after: float) -> Finding:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() + 0.5  # it has whole seconds
    except ValueError:
        return Finding("clock", "warning", "the API does not say what time it has")
    skew = (before + after) / 2 - theirs
    off = max(0.0, abs(skew) - (after - before) / 2 - 0.5)
    which = "ahead of" if skew > 0 else "behind"
    if off < _CLOCK_WARNING:
        return Finding("clock", "ok", "as the API's")
    return Finding(
        "clock",
        "problem" if off >= _CLOCK_PROBLEM else "warning",
        f"{off:.0f} s {which} the API's: signed requests are refused beyond a minute",
        "Set this machine's clock by NTP (`timedatectl set-ntp true`), or ask your network team for a time server.",
    )


# ---- the mesh -------------------------------------------------------------------------------------------------------


def _told_echoes(echoes: Sequence[Echo], settings: MeshSettings) -> list[Finding]:
    findings = []
    for echo in echoes:
        if echo.seen is None:
            advice = (
                f"Ask your network team to allow UDP from this machine to {echo.address}, with answers back, and for "
                "direct connections to the other nodes' UDP ports. Without it the mesh uses a relay."
            )
            found = f"no answer from {echo.address} within {probes.ANSWER_SECONDS:g} s"
            findings.append(Finding("UDP", "warning", found, advice))
        else:
            found = f"{echo.address} answers in {_ms(echo.seconds)} and sees {echo.seen}"
            findings.append(Finding("UDP", "ok", found))
    for family in ("IPv4", "IPv6"):
        seen = [echo for echo in echoes if echo.seen and echo.seen.startswith("[") == (family == "IPv6")]
        if seen:
            findings.append(_nat(family, seen, settings))
    return findings


def _nat(family: str, seen: Sequence[Echo], settings: MeshSettings) -> Finding:
    """Tell how addresses are translated between here and the reflectors (RFC 4787, section 4.1)."""
    what, mappings = f"NAT {family}", {str(echo.seen) for echo in seen}
    ip = probes.local_ip(seen[0].address)
    if {mapping.rpartition(":")[0].strip("[]") for mapping in mappings} == {ip}:
        return Finding(what, "ok", f"none: the outside sees this machine's own address, {ip}")
    if len(mappings) > 1:
        port = next((each.rpartition(":")[2] for each in settings.listen if not each.endswith(":0")), None)
        return Finding(
            what,
            "warning",
            f"symmetric: another port for every destination ({', '.join(sorted(mappings))})",
            "Peers cannot dial in through it; a relay is used. For direct connections ask your network team to forward "
            f"one UDP port to this machine ({port or 'and set it as listen in mesh.toml, e.g. 41641'}).",
        )
    if len({echo.reflector for echo in seen}) < 2:
        return Finding(what, "ok", f"present: {ip} is seen as {seen[0].seen}; one reflector alone cannot tell its kind")
    return Finding(what, "ok", f"cone: {ip} is seen as {seen[0].seen} by all, so that peers can dial in")


async def _own_tls(address: str, identity: Identity, settings: MeshSettings) -> Finding:
    """Tell whether this machine's node answers peers at `address`; whether they are let through, only they can tell."""
    host, _, port = address.rpartition(":")
    if port == "0":
        return Finding(
            "TLS of peers",
            "warning",
            f"{address} takes another port at every start, which no firewall can be opened for",
            "Set a fixed one as listen_tls in mesh.toml, e.g. 8443.",
        )
    here = f"{_THIS_MACHINE.get(host, host)}:{port}"
    try:
        seconds = await probes.reach_own_tls(identity, here)
    except FlaasError as error:
        advice = "Start the node (`flaas node run`); its log says why, should it not listen there."
        return Finding("TLS of peers", "warning", error.message, advice)
    outside = ", ".join(settings.announce_tls) or f"TCP port {port} of this machine"
    return Finding("TLS of peers", "ok", f"the node answers at {here} in {_ms(seconds)}; peers need {outside} open")


async def _tls_of_others(node_id: str, directories: Sequence[Directory]) -> list[Finding]:
    """Tell which of the TCP ports that other members list are reached; of each member one is enough."""
    ports: dict[str, tuple[str, ...]] = {}
    for directory in directories:
        for member in sorted(directory.members - {node_id}):
            with suppress(NotAllowed):
                if listed := directory.peer(member).whereabouts.tls:
                    ports[member] = listed
    if not ports:
        return []
    asked = list(ports.items())[:_MOST_PEERS]
    answers = await asyncio.gather(*(probes.reach_tcp(listed) for _, listed in asked))
    closed = [listed[0] for (_, listed), seconds in zip(asked, answers, strict=True) if seconds is None]
    told = f"{len(asked) - len(closed)} of {_counted(asked, 'node')} that list a TCP port for TLS can be reached"
    if not closed:
        return [Finding("TLS to peers", "ok", told)]
    advice = f"Ask your network team to allow TCP from this machine to {', '.join(closed)}; or those nodes are away."
    return [Finding("TLS to peers", "warning" if len(closed) == len(asked) else "ok", told, advice)]


async def _relay(site: RelaySite, settings: MeshSettings) -> Finding:
    what, by = f"relay {site.name}", ""
    host, port = _target(site.url)
    try:
        if proxy := settings.proxy_to(site.url):
            by = f" through the proxy {proxy}"
        seconds = await probes.reach_relay(site, settings.trust_of(site), proxy)
    except FlaasError as error:
        advice = error.hint
        if error.code == "relay-unreachable":
            advice = f"Ask your network team to allow TCP from this machine to {host} port {port} (HTTPS, WebSocket)"
            advice += f"{by}." if by else "; if only a proxy leads out, set HTTPS_PROXY or [proxy] in mesh.toml."
        return Finding(what, "problem", error.message, advice)
    return Finding(what, "ok", f"{site.url}{by}: WebSocket opened in {_ms(seconds)}")


def _verdict(
    direct: str,
    reflectors: Sequence[ReflectorSite],
    answered: Sequence[Echo],
    relays: Sequence[RelaySite],
    *,
    quic: bool,
    tls: bool,
) -> Finding:
    """Say what all of this means for the mesh."""
    by_port: dict[str, set[str]] = {}
    for echo in answered:
        assert echo.seen is not None
        by_port.setdefault("6" if echo.seen.startswith("[") else "4", set()).add(echo.seen)
    punchable = direct != "never" and any(len(mappings) == 1 for mappings in by_port.values())
    if punchable:
        beside = " and by relay" if relays else " and over TLS" if tls else ", without a relay to fall back on"
        return Finding("mesh", "ok", f"peers can be reached directly{beside}")
    if tls and (relays or not quic):
        return Finding("mesh", "ok", "peers can be reached over TLS" + (" and by relay" if relays else ""))
    if tls:
        return Finding(
            "mesh",
            "warning",
            "peers can be reached over TLS alone: neither UDP nor a relay gets out of this network",
            "Of two nodes one needs an open TCP port (listen_tls in mesh.toml); those that have none need a relay.",
        )
    if not quic:
        return Finding(
            "mesh",
            "problem" if direct == "never" else "warning",
            "only TLS is used here (carriers in mesh.toml), and "
            + ('is not allowed (direct = "never")' if direct == "never" else "no TCP port for it is reached from here"),
            "Set listen_tls in mesh.toml and have that port opened, here or at the peers, or let iroh be used as well.",
        )
    if relays:
        why = "as the project or mesh.toml says" if direct == "never" else "direct ones are unlikely from this network"
        return Finding("mesh", "ok" if direct == "never" else "warning", f"connections go by relay: {why}")
    if not reflectors and direct != "never":
        return Finding(
            "mesh",
            "warning",
            "it cannot be tried from here: the network document names no relay that is reached and no reflector",
            "Nodes whose UDP ports are open to each other need none; others need a relay (`flaas domain network`).",
        )
    return Finding(
        "mesh",
        "problem",
        "no way to peers: neither UDP nor a relay gets out of this network",
        "Hand the advice above to your network team: one of UDP, TCP to a relay, a proxy that leads to a relay, or an "
        "open TCP port between nodes (listen_tls in mesh.toml).",
    )


# ---- words ----------------------------------------------------------------------------------------------------------


def _target(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _without_password(url: str) -> str:
    """Return a proxy's URL without user and password; it may have no scheme."""
    head, at, place = url.rpartition("@")
    scheme, named, _ = head.partition("://")
    return f"{scheme}://{place}" if at and named else place


def _object(response: httpx.Response) -> dict[str, object]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)  # asyncio's own text repeats the address
    return (os.strerror(number) if number else str(error)).lower().rstrip(".") or type(error).__name__


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
