"""The domains of a node, as one directory."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import NotAllowed, Unreachable
from flaas_jupyter.execution.domains import Domains

sys.path.insert(0, str(Path(__file__).parents[1] / "communications"))
from mesh_domain import Domain

A, B, STRANGER = (Identity(letter.encode() * 32).node_id for letter in "abs")


class Api:
    """Lists the domains by the project's id in the path."""

    def __init__(self, *domains: Domain) -> None:
        self.domains = {domain.name: domain for domain in domains}
        self.away = ""

    async def get(self, path: str) -> dict[str, Any]:
        if self.away:
            raise Unreachable(self.away)
        return self.domains[path.split("/")[3]].listing()


def test_a_peer_is_signalled_in_a_project_that_it_is_in() -> None:
    first, second = Domain("first"), Domain("second")
    first.admit(A)
    second.admit(A)
    second.admit(B)
    keys = {domain.name: domain.key.node_id for domain in (first, second)}
    domains = Domains(keys, Api(first, second))  # type: ignore[arg-type]
    asyncio.run(domains.refresh())
    assert (domains.project_of(A), domains.project_of(B)) == ("first", "second")
    with pytest.raises(NotAllowed) as caught:
        domains.project_of(STRANGER)
    assert caught.value.code == "unknown-peer"


def test_an_api_that_is_away_for_long_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    domain = Domain("first")
    api = Api(domain)
    domains = Domains({domain.name: domain.key.node_id}, api)  # type: ignore[arg-type]

    def refresh(away: str) -> list[str]:
        caplog.clear()
        api.away = away
        for _ in range(3):
            asyncio.run(domains.refresh())
        return [record.getMessage() for record in caplog.records]

    assert refresh("It is away.") == ["directory of first: It is away."]
    assert refresh("It is away.") == []
    assert refresh("Its certificate is wrong.") == ["directory of first: Its certificate is wrong."]
    assert refresh("") == []
    assert refresh("It is away.") == ["directory of first: It is away."], "it was back in between"
