"""Sealed uploads through this server: passed on byte for byte, by a process that comes and goes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
from pathlib import Path

import pytest
from flaas_server import upload_handlers
from flaas_server.problems import Problem
from flaas_server.upload_bridge import UploadBridge
from tornado.httpclient import HTTPClientError

from .fake_api import TOKEN
from .fake_bridge import BROKEN, GONE, REFUSED, SILENT

UPLOAD = "ab" * 16
FORM = {"project": "credit", "dataset": "loans", "header": "aGVhZGVy", "envelope": "ZW52ZWxvcGU="}


def command(folder: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("fake_bridge.py")), str(folder)]


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text().splitlines())


@pytest.fixture
def bridge(tmp_path, jp_asyncio_loop):
    bridge = UploadBridge(tmp_path / "home", logging.getLogger("test"), command(tmp_path))
    yield bridge
    jp_asyncio_loop.run_until_complete(bridge.close())


@pytest.fixture
def ask(jp_serverapp, jp_fetch, bridge):
    """Fetch under ``flaas/uploads``; the answer's JSON."""
    jp_serverapp.web_app.settings["flaas_uploads"] = bridge

    async def fetch(*path: str, **options):
        response = await jp_fetch("flaas", "uploads", *path, **options)
        return json.loads(response.body) if response.body else None

    return fetch


@pytest.fixture
def signed_in(jp_asyncio_loop, jp_fetch, fake_api):
    body = json.dumps({"token": TOKEN})
    jp_asyncio_loop.run_until_complete(jp_fetch("flaas", "session", method="POST", body=body))


async def refusal(asked) -> dict:
    with pytest.raises(HTTPClientError) as caught:
        await asked
    assert caught.value.response.headers["Content-Type"] == "application/problem+json"
    return json.loads(caught.value.response.body)


# ---- endpoints ------------------------------------------------------------------------------------------------------


async def test_an_upload_is_opened_as_it_was_asked_for(ask, signed_in, bridge, tmp_path):
    told = await ask(method="POST", body=json.dumps({**FORM, "more": "is left out"}))
    assert {name: told[name] for name in FORM} == FORM
    assert (told["do"], "more" in told, told["home"]) == ("open", False, str(tmp_path / "home"))


async def test_nobody_opens_one_who_is_not_signed_in(ask, tmp_path):
    problem = await refusal(ask(method="POST", body=json.dumps(FORM)))
    assert (problem["status"], problem["code"]) == (401, "not-signed-in")
    assert not (tmp_path / "starts").exists()


async def test_a_chunk_passes_byte_for_byte(ask, tmp_path):
    chunk = bytes(range(256)) * 4096
    told = await ask(UPLOAD, "chunks", "7", method="PUT", body=chunk)
    assert told["sha256"] == hashlib.sha256(chunk).hexdigest()
    assert (told["do"], told["upload"], told["index"]) == ("chunk", UPLOAD, 7)


async def test_state_finish_and_abort(ask):
    assert (await ask(UPLOAD))["do"] == "state"
    assert (await ask(UPLOAD, "finish", method="POST", body=json.dumps({"finish": "bm90ZQ=="})))["finish"] == "bm90ZQ=="
    assert await ask(UPLOAD, method="DELETE") is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", json.dumps({"project": "x"}).encode(), b'{"finish": 1}'])
async def test_what_is_no_form_is_refused(ask, signed_in, body):
    for path in ((), (UPLOAD, "finish")):
        problem = await refusal(ask(*path, method="POST", body=body))
        assert (problem["status"], problem["code"]) == (422, "bad-upload")


@pytest.mark.parametrize("path", [("..",), ("AB" * 16,), (UPLOAD, "chunks", "x"), (UPLOAD, "chunks", "-1"), ("ab",)])
async def test_other_addresses_are_none(ask, path):
    assert (await refusal_of_any(ask(*path, method="PUT", body=b"x")))["status"] == 404


async def refusal_of_any(asked) -> dict:
    with pytest.raises(HTTPClientError) as caught:
        await asked
    return {"status": caught.value.code}


async def test_what_is_too_large_is_refused_here(ask, signed_in, tmp_path):
    chunk = bytes(upload_handlers.CHUNK_LIMIT + 1)
    assert (await refusal(ask(UPLOAD, "chunks", "0", method="PUT", body=chunk)))["status"] == 413
    form = json.dumps({**FORM, "envelope": "A" * upload_handlers.OPENING_LIMIT})
    assert (await refusal(ask(method="POST", body=form)))["status"] == 413
    assert not (tmp_path / "starts").exists()


async def test_a_refusal_comes_with_its_way_out(ask):
    problem = await refusal(ask(UPLOAD, "chunks", str(REFUSED), method="PUT", body=b"x"))
    assert (problem["status"], problem["code"], problem["kind"]) == (403, "policy-uploads", "NotAllowed")
    assert (problem["detail"], problem["hint"]) == ("no", "ask")


async def test_more_chunks_than_may_wait_are_sent_back(ask, jp_serverapp, bridge, monkeypatch):
    monkeypatch.setattr(upload_handlers, "AT_ONCE", 1)
    waits = asyncio.create_task(ask(UPLOAD, "chunks", str(SILENT), method="PUT", body=b"x"))
    while not jp_serverapp.web_app.settings.get("flaas_upload_chunks"):
        await asyncio.sleep(0.01)
    with pytest.raises(HTTPClientError) as caught:
        await ask(UPLOAD, "chunks", "1", method="PUT", body=b"x")
    assert caught.value.code == 429
    await bridge.close()
    with pytest.raises(HTTPClientError):
        await waits


# ---- the process ----------------------------------------------------------------------------------------------------


async def test_it_is_started_once_and_answers_all(bridge, tmp_path):
    told = await asyncio.gather(*(bridge.ask("chunk", {"index": index}, b"x") for index in range(8)))
    assert [each["index"] for each in told] == list(range(8))
    assert starts(tmp_path) == 1


async def test_one_that_dies_is_started_again_and_nobody_waits_for_the_dead(bridge, tmp_path):
    waits = asyncio.create_task(bridge.ask("chunk", {"index": SILENT}, b"x"))
    await bridge.ask("state", {})
    for index in (GONE, BROKEN):
        with pytest.raises(Problem) as caught:
            await bridge.ask("chunk", {"index": index}, b"x")
        assert (caught.value.status, caught.value.code) == (503, "no-bridge")
    with pytest.raises(Problem):
        await waits
    assert (await bridge.ask("state", {}))["do"] == "state"
    assert starts(tmp_path) == 3


async def test_it_leaves_when_nobody_needs_it_and_comes_back(tmp_path):
    bridge = UploadBridge(tmp_path, logging.getLogger("test"), command(tmp_path), idle=0.05)
    try:
        first = (await bridge.ask("state", {}))["pid"]
        while not (tmp_path / "left").exists():
            await asyncio.sleep(0.01)
        assert (await bridge.ask("state", {}))["pid"] != first
    finally:
        await bridge.close()


async def test_a_server_without_it_says_what_is_missing(tmp_path):
    bridge = UploadBridge(tmp_path, logging.getLogger("test"), ["/no/such/program"])
    with pytest.raises(Problem) as caught:
        await bridge.ask("state", {})
    assert caught.value.code == "no-bridge"
    assert "flaas_jupyter" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("NotAuthenticated", "no-token", 401),
        ("NotAuthenticated", "upload-unreadable", 422),
        ("InvalidInput", "upload-not-open", 404),
        ("Unreachable", "peer-lost", 502),
        ("Conflict", "upload-incomplete", 409),
        ("Unheard", "new-code", 500),
    ],
)
def test_statuses(kind, code, status):
    from flaas_server.upload_bridge import _problem

    assert _problem({"kind": kind, "code": code, "message": "m", "hint": "h"}).status == status
