"""``flaas node boot``: a machine that was launched becomes a node, by itself, from one file.

The file holds a single-use secret, which is swapped for the registration of a key that is made here and never leaves.
Every step can be repeated, so that a machine that restarts anywhere goes on where it was.

What is trusted: the file comes from the person who launched the machine, by way of the coordination API and the
cloud. So the domain key in it is as good as these: the API takes it from the project, and refuses a launch whose
person names another one. From then on it is pinned, and neither the API nor the cloud can add a member. Whether this
node becomes one is decided by the holders of the domain key, who sign for it, or do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from .._version import __version__
from ..communications.coordinator import Coordinator, NodeKey
from ..communications.directory import Directory
from ..communications.identity import REGISTER, Identity, canonical
from ..communications.trust import Trust, fetched, parse_fingerprint
from ..errors import InvalidInput, NotAllowed, Unreachable
from ..home import Home, write_private
from .datasets import DatasetRegistry
from .enrolment import Enrolment
from .policy import Policy, allow_project

log = logging.getLogger(__name__)

LARGEST_DOWNLOAD: Final = 16 << 30
_FIRST_LOOK, _LONGEST_LOOK = 0.5, 10.0
_ENROL_FOR = 600.0
_SUFFIXES: Final = (".csv", ".parquet", ".npz")
_FIELDS: Final = ("url", "organisation", "project", "domain_key", "name")


@dataclass(frozen=True)
class BootConfig:
    """What a machine boots with; see `flaas_jupyter.costs.launch.cloud_init`.

    Parameters
    ----------
    url, organisation, project, domain_key, name : str
        Where the node belongs.
    secret : str, optional
        Gone once it was used.
    datasets : tuple of mapping
        ``name``, ``source`` (a path, or an https address), ``target``, ``sha256``.
    listen : tuple of str
        Addresses of the mesh.
    end_by : datetime, optional
        When the node stops.
    ca_fingerprint : str, optional
        Of the private authority that vouches for the API, see `flaas_jupyter.communications.trust`.
    """

    url: str
    organisation: str
    project: str
    domain_key: str
    name: str
    secret: str | None = None
    datasets: tuple[Mapping[str, Any], ...] = ()
    listen: tuple[str, ...] = ()
    end_by: datetime | None = None
    ca_fingerprint: str | None = None

    @classmethod
    def load(cls, path: Path) -> BootConfig:
        """Read the file.

        Raises
        ------
        InvalidInput
            Code ``bad-boot-file``; the file's content is never quoted.
        """
        try:
            raw = json.loads(path.read_text())
            wrong = [name for name in _FIELDS if not isinstance(raw[name], str)]
            if wrong:
                raise ValueError(wrong[0])
            end, authority = raw.get("end_by"), raw.get("ca_fingerprint")
            return cls(
                **{name: raw[name] for name in _FIELDS},
                secret=raw.get("secret"),
                datasets=tuple(
                    {**entry, "name": str(entry["name"]), "source": str(entry["source"])}
                    for entry in raw.get("datasets", [])
                ),
                listen=tuple(map(str, raw.get("listen") or cls.listen)),
                end_by=datetime.fromisoformat(end) if end else None,
                ca_fingerprint=parse_fingerprint(authority) if authority else None,
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{path} does not say how to boot a node ({type(error).__name__}).",
                code="bad-boot-file",
                hint="It is written when a machine is launched; launch it anew.",
            ) from error


async def boot(path: Path, home: Home, run: Callable[[Home, tuple[str, ...]], Any]) -> None:
    """Bring the node of `path` up in `home`, and run it until its time is over.

    Parameters
    ----------
    path : Path
        The file; its secret is erased once it was used.
    home : Home
        The node's.
    run : callable
        Given the home and the mesh's addresses, returns the coroutine that serves until cancelled.

    Raises
    ------
    NotAuthenticated, NotAllowed, Conflict
        The API does not let the machine in; see ``POST /v1/enrolments``.
    """
    config = BootConfig.load(path)
    left = None if config.end_by is None else (config.end_by - datetime.now(UTC)).total_seconds()
    try:
        async with asyncio.timeout(left):
            await _up(path, config, home)
            await run(home, config.listen)
    except TimeoutError:
        log.info("the time of node %s is over", config.name)


async def _up(path: Path, config: BootConfig, home: Home) -> None:
    identity = Identity.load_or_create(home.key)
    if not home.policy.exists():
        write_private(home.policy, Policy.default_toml().encode())
    await _enrol(config, home, identity)
    _erase_secret(path)
    allow_project(home.policy, config.project)
    for entry in config.datasets:
        await _add_dataset(entry, config, home)
    await _wait_for_membership(config, home, identity)


async def _enrol(config: BootConfig, home: Home, identity: Identity) -> None:
    """Swap the secret for a registration, unless that was done before."""
    if home.enrolment.exists() and config.project in Enrolment.load(home.enrolment).projects:
        return
    if config.secret is None:
        raise InvalidInput(
            "The enrolment secret was used, and there is no node here.", code="enrolment-used", hint="Launch anew."
        )
    proof = canonical({"id": identity.node_id, "name": config.name, "organisation": config.organisation})
    body = {
        "secret": config.secret,
        "id": identity.node_id,
        "name": config.name,
        "version": __version__,
        "proof": identity.sign(REGISTER, proof).hex(),
    }
    deadline, pause = time.monotonic() + _ENROL_FOR, _FIRST_LOOK
    while True:
        try:
            async with Coordinator(config.url, trust=await _trust(config, home)) as coordinator:
                await coordinator.post("/v1/enrolments", body)  # once more is the same: it is one key and one secret
                break
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("%s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK)
    joined = Enrolment(config.name).joined(config.url, config.organisation, config.project, config.domain_key)
    joined.save(home.enrolment)
    log.info("node %s (%s) is registered for project %s", config.name, identity.node_id, config.project)


async def _trust(config: BootConfig, home: Home) -> Trust:
    """Return who may vouch for the API; the authority that the file names is fetched once, and pinned."""
    trust = Trust.of(home, config.url)
    if config.ca_fingerprint is not None and config.ca_fingerprint not in trust.fingerprints:
        trust = await asyncio.to_thread(fetched, config.url, config.ca_fingerprint)
        trust.keep(home, config.url)
    return trust


def _erase_secret(path: Path) -> None:
    raw = json.loads(path.read_text())
    if raw.pop("secret", None) is not None:
        write_private(path, json.dumps(raw).encode())


async def _add_dataset(entry: Mapping[str, Any], config: BootConfig, home: Home) -> None:
    registry = DatasetRegistry(home.path)
    name, source = entry["name"], entry["source"]
    if any(known.name == name for known in registry.list()):
        return
    local = Path(source)
    if "://" in source:
        local = home.path / "data" / (name + _suffix(source))
        await download(source, local, sha256=entry.get("sha256"))
    await asyncio.to_thread(registry.add, name, local, target=entry.get("target"), projects=(config.project,))
    log.info("data set %s is registered", name)


async def download(
    source: str, target: Path, *, sha256: str | None = None, limit: int = LARGEST_DOWNLOAD, verify: Any = True
) -> None:
    """Fetch an https address into `target`, which is there whole or not at all.

    Raises
    ------
    InvalidInput
        ``bad-source``: not https, also after a redirection; ``download-too-large``; ``wrong-digest``.
    Unreachable
        Code ``download-failed``.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_name(f".{target.name}.part")
    digest, size = hashlib.sha256(), 0
    try:
        async with (
            httpx.AsyncClient(verify=verify, follow_redirects=True, timeout=30.0) as http,
            _fetching(http, source) as response,
        ):
            with draft.open("wb") as file:
                async for block in response.aiter_bytes(1 << 20):
                    size += len(block)
                    if size > limit:
                        raise InvalidInput(
                            f"{_shown(source)} is larger than {limit} bytes.",
                            code="download-too-large",
                            hint="Split the data set.",
                        )
                    digest.update(block)
                    file.write(block)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise InvalidInput(
                f"{_shown(source)} has the SHA-256 {digest.hexdigest()}, not {sha256}.",
                code="wrong-digest",
                hint="It was changed, or is another file.",
            )
        draft.replace(target)
    except httpx.HTTPError as error:
        raise Unreachable(
            f"{_shown(source)} could not be fetched ({type(error).__name__}).", code="download-failed"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _fetching(http: httpx.AsyncClient, source: str) -> Any:
    async def require_https(request: httpx.Request) -> None:
        if request.url.scheme != "https":
            raise InvalidInput(
                f"{_shown(str(request.url))} is not https.", code="bad-source", hint="Give an https:// address."
            )

    http.event_hooks["request"].append(require_https)
    async with http.stream("GET", source) as response:
        response.raise_for_status()
        yield response


async def _wait_for_membership(config: BootConfig, home: Home, identity: Identity) -> None:
    """Wait until the holders of the domain key have signed for this node, however long they take."""
    told, pause = False, _FIRST_LOOK
    async with Coordinator(config.url, NodeKey(identity), trust=Trust.of(home, config.url)) as coordinator:
        while True:
            directory = Directory(config.project, config.domain_key)
            try:
                directory.update(await coordinator.get(f"/v1/projects/{config.project}/directory"))
                directory.require(identity.node_id, "node")
                return
            except Unreachable as error:
                log.warning("%s", error)
            except NotAllowed:
                if not told:
                    log.info(
                        "waiting for the holders of the domain key of %s to sign for this node: "
                        "flaas domain approve %s --launch ID",
                        config.project,
                        config.project,
                    )
                told = True
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK)


def _suffix(source: str) -> str:
    suffix = Path(urlsplit(source).path).suffix.lower()
    return suffix if suffix in _SUFFIXES else ".csv"


def _shown(source: str) -> str:
    """Return an address without its query, which may hold a signature."""
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"[:200]
