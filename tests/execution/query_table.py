"""Queries without network or API: nodes with real files, ledgers and signatures, and a notebook, around one table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flaas_jupyter.communications.directory import Directory, Membership, sign_membership
from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.communications.mesh import Route, _Frame
from flaas_jupyter.communications.wire import Message, decode, encode
from flaas_jupyter.errors import FlaasError, NotFound, Unreachable
from flaas_jupyter.execution import query_request
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.queries import Queries
from flaas_jupyter.execution.query_release import released_of
from flaas_jupyter.protocols.analytics.release import Released

PROJECT, DATASET = "demo", "people"
NAMES = ("north", "south", "west", "east", "centre")


def people(rows: int, seed: int) -> pd.DataFrame:
    """Return a table of a number, an amount, a group and a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": rng.normal(2500.0, 700.0, rows).round(2),
            "ward": rng.integers(0, 4, rows),
            "sick": rng.integers(0, 2, rows),
        }
    )


class Site:
    """A node: its key, its file, its ledger and what it answers."""

    def __init__(self, table: QueryTable, name: str, frame: pd.DataFrame, policy: Mapping[str, Any]) -> None:
        self.table, self.name, self.frame = table, name, frame
        self.identity = Identity.generate()
        self.home: Path = table.folder / name
        self.home.mkdir()
        frame.to_csv(self.home / "people.csv", index=False)
        self.registry = DatasetRegistry(self.home)
        self.registry.add(DATASET, self.home / "people.csv", target="sick", projects=(PROJECT,))
        self.policy = Policy(**{"projects": (PROJECT,), "operations": ("train", "analytics"), **policy})
        self.open()

    def open(self) -> None:
        """Start, or start again: what is kept on disk is all that is left."""
        self.queries = Queries(
            self.home / "queries",
            identity=self.identity,
            policy=self.policy,
            datasets=self.registry,
            directory=lambda project: self.table.directory,
            refresh=self.table.refresh,
            fetch=self.table.fetch,
            ask=lambda node, message, limit: self.table.ask(self.id, node, message),
            verifier=lambda project: self.table.verify,
        )

    @property
    def id(self) -> str:
        return self.identity.node_id


class QueryTable:
    """A federation around one table; `ask` is the network and can be cut, `record` is what the API tells."""

    def __init__(self, folder: Path, rows: list[int], **policy: Any) -> None:
        self.folder = folder
        self.key, self.developer = Identity.generate(), Identity.generate()
        self.serial = 0
        self.cut: set[str] = set()
        self.cut_at: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.seen: list[Message] = []
        self.records: dict[str, dict[str, Any]] = {}
        self.sites = [
            Site(self, name, people(count, seed), policy)
            for seed, (name, count) in enumerate(zip(NAMES, rows, strict=False))
        ]
        self.members: dict[str, tuple[str, tuple[str, ...]]] = {
            site.id: (site.name, ("node",)) for site in self.sites
        } | {self.developer.node_id: ("laboratory", ("developer",))}
        self.directory = Directory(PROJECT, self.key.node_id)
        self.list_members()

    def list_members(self) -> None:
        """Have the directory tell of `members`, as the domain key signs them."""
        now = int(time.time())
        self.serial += 1
        documents = [
            sign_membership(self.key, Membership(PROJECT, node, organisation, roles, now - 60, now + 3600, self.serial))
            for node, (organisation, roles) in self.members.items()
        ]
        self.directory.update(
            {"domain": PROJECT, "domain_key": self.key.node_id, "memberships": documents, "records": []}
        )

    @property
    def pooled(self) -> pd.DataFrame:
        """All rows in one table, which nobody has."""
        return pd.concat([site.frame for site in self.sites], ignore_index=True)

    def site(self, node: str) -> Site:
        return next(site for site in self.sites if site.id == node or site.name == node)

    async def refresh(self) -> None:
        self.list_members()

    async def fetch(self, path: str) -> dict[str, Any]:
        query = path.rsplit("/", 1)[1]
        if query not in self.records:
            raise NotFound(f"There is no query {query!r} for you.", code="unknown-query")
        return self.records[query]

    def verify(self, node: str, context: str, payload: bytes, signature: bytes) -> None:
        try:
            self.directory.require(node, "node")
            verify(node, context, payload, signature)
        except FlaasError as error:
            error.details["member"] = node
            raise

    async def ask(self, sender: str, node: str, message: Message) -> Message:
        """Carry a message as the mesh does: through the frame, and only to those who may answer its sender."""
        self.asked.append((self.site(node).name, message.type))
        if self.cut_at.get(self.site(node).name) == message.type:
            self.cut.add(self.site(node).name)
        if self.site(node).name in self.cut:
            raise Unreachable("gone", code="peer-lost")
        route = self.routes(self.site(node))[message.type]
        peer = self.directory.require(sender, route.role)
        request = await decode(_Frame(await encode(message)), route.limit)
        reply = await decode(_Frame(await encode(await route.handler(peer, request))), 1 << 30)
        self.seen.append(reply)
        return reply

    def routes(self, site: Site) -> dict[str, Route]:
        """Return what a node answers."""
        return site.queries.routes()

    # ---- the notebook -----------------------------------------------------------------------------------------

    def opened(self, operation: str = "mean", via: str = "mpc", **changes: Any) -> dict[str, Any]:
        """Open a query, as the API does."""
        nonce, now = query_request.new_nonce(), datetime.now(UTC)
        chosen = [site for site in self.sites if site.name not in changes.pop("without", ())]
        record = {
            "id": f"q{len(self.records)}",
            "project": PROJECT,
            "dataset": DATASET,
            "operation": operation,
            "via": via,
            "purpose": "analytics",
            "digest": query_request.opening_digest(operation, DATASET, {}, nonce),
            "submitter": self.developer.node_id,
            "releaser": chosen[0].id,
            "state": "open",
            "expires": (now + timedelta(minutes=15)).isoformat(),
            "participants": [{"node": site.id, "name": site.name} for site in chosen],
            **changes,
        }
        self.records[record["id"]] = record
        return {**record, "nonce": nonce}

    def signed(
        self, record: dict[str, Any], statistic: dict[str, Any], step: int = 0, **changes: Any
    ) -> dict[str, Any]:
        """Sign a step of an open query, with `changes` of what is signed."""
        who = changes.pop("by", self.developer)
        document = query_request.sign(
            who, record, step=step, statistic=statistic, summary={}, nonce=record["nonce"], now=time.time()
        )
        if changes:
            body = {**document["body"], **changes}
            document = query_request.sign_document(who, query_request.QUERY, body)
        return document

    async def run(self, document: dict[str, Any], sender: Identity | None = None) -> dict[str, Any]:
        """Hand a step to its releaser; return the answer."""
        sender = sender or self.developer
        ask = Message("query/run", {"step": document})
        answer = await self.ask(sender.node_id, document["body"]["releaser"], ask)
        return {**answer.body, "released": released_of(answer)}

    async def released(self, statistic: dict[str, Any], via: str = "mpc", **changes: Any) -> Released:
        """Ask one question from the opening to what is released."""
        record = self.opened(via=via, **changes)
        released: Released = (await self.run(self.signed(record, statistic)))["released"]
        return released
