"""Metrics of the API: bounded whatever callers send, and there above all when the data base is not."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from flaas_jupyter.coordination import metrics as api_metrics
from flaas_jupyter.coordination.services import runs


def samples(exposed: bytes) -> dict[str, float]:
    lines = [line for line in exposed.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def scraped(federation) -> dict[str, float]:
    return samples(asyncio.run(federation.api.hosted.metrics.exposed()))


def test_callers_cannot_make_series(federation):
    def requests() -> set[str]:
        return {name for name in scraped(federation) if name.startswith("flaas_api_request")}

    with httpx.Client(base_url=federation.api.url, trust_env=False, timeout=60) as client:
        client.get("/nothing/there")
        client.request("BREW", "/v1/runs/r-0")
        before = requests()
        for number in range(30):
            client.get(f"/nothing/there-{number}?person={number}")
            client.request(f"BREW{number}", f"/v1/runs/r-{number}")
        assert requests() == before
    assert not any("person" in name or "r-0" in name for name in before)


def test_a_failure_is_counted_with_its_route(federation, monkeypatch):
    def defect(*_args, **_options):
        raise ZeroDivisionError

    name = 'flaas_api_requests_total{method="GET",route="/metrics",status="5xx"}'
    assert name not in scraped(federation)
    with monkeypatch.context() as broken:
        broken.setattr(federation.api.hosted.metrics, "text", defect)
        assert federation.admin.call("GET", "/metrics").status_code == 500
    assert scraped(federation)[name] == 1


def test_without_a_data_base_the_counters_are_told_all_the_same(federation, monkeypatch):
    def away(*_args, **_options):
        raise OperationalError("SELECT 1", {}, ConnectionError("server closed the connection"))

    federation.admin.get("/v1/me")
    assert scraped(federation)["flaas_api_database_up"] == 1
    with monkeypatch.context() as broken:
        broken.setattr(federation.api.hosted.database, "reading", away)
        found = scraped(federation)
    assert found["flaas_api_database_up"] == 0
    assert "flaas_api_nodes_online" not in found
    assert any(name.startswith("flaas_api_requests_total") for name in found)
    assert scraped(federation)["flaas_api_database_up"] == 1


def test_a_data_base_that_hangs_is_asked_once_and_not_waited_for(federation, monkeypatch):
    hosted, looks, released = federation.api.hosted, [], threading.Event()
    count = runs.count_by_state

    def hanging(session):
        looks.append(threading.get_ident())
        released.wait(20)
        return count(session)

    async def scrapes() -> None:
        for _ in range(3):
            found = samples(await hosted.metrics.exposed())
            assert found["flaas_api_database_up"] == 0
            assert "flaas_api_nodes_online" not in found
        assert len(looks) == 1
        released.set()
        async with asyncio.timeout(20):
            while "flaas_api_nodes_online" not in samples(await hosted.metrics.exposed()):
                pass

    monkeypatch.setattr(api_metrics, "_PATIENCE", 0.1)
    monkeypatch.setattr(runs, "count_by_state", hanging)
    asyncio.run(scrapes())


def test_errors_of_the_data_base_are_counted_whoever_deals_with_them(federation):
    def errors(kind: str) -> float:
        return scraped(federation)[f'flaas_api_database_errors_total{{kind="{kind}"}}']

    database = federation.api.hosted.database
    before = errors("constraint")
    again = "INSERT INTO organisations (id, name, created) SELECT id, name, created FROM organisations"
    with pytest.raises(DBAPIError), database.writing() as session:
        session.connection().execute(text(again))
    assert errors("constraint") == before + 1
