"""Signing in: verified, kept with mode 0600, shared with notebooks, and never shown."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest
from flaas_server.problems import Problem
from flaas_server.session import Credentials, Session, check_url
from tornado.httpclient import HTTPClientError

from .fake_api import TOKEN, FakeApi

LOG = logging.getLogger("test")
ROLES = [{"role": "developer", "scope": "organisation:north"}]


def stored(home: Path) -> dict[str, str]:
    return json.loads((home / "credentials.json").read_text())


async def test_status_before_signing_in_says_who_answers_and_that_nobody_is_signed_in(jp_fetch, fake_api):
    response = await jp_fetch("flaas", "status")

    body = json.loads(response.body)
    assert body["api"] == {"url": fake_api.url, "reachable": True, "version": "9.9.9", "problem": None}
    assert body["session"]["signed_in"] is False
    assert body["session"]["has_token"] is False
    assert body["version"]


async def test_signing_in_verifies_the_token_and_keeps_it_for_notebooks(jp_fetch, fake_api, flaas_home):
    response = await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN}))

    assert response.code == 201
    body = json.loads(response.body)
    assert body == {"url": fake_api.url, "subject": "ana", "organisation": "north", "roles": ROLES}
    assert stored(flaas_home) == {"url": fake_api.url, "token": TOKEN}
    assert stat.S_IMODE((flaas_home / "credentials.json").stat().st_mode) == 0o600
    status = json.loads((await jp_fetch("flaas", "status")).body)
    assert status["session"] == {
        "signed_in": True, "has_token": True, "renewed": False,
        "subject": "ana", "organisation": "north", "roles": ROLES, "node": None,
    }  # fmt: skip


async def test_a_wrong_token_is_refused_with_the_apis_problem_and_not_kept(jp_fetch, flaas_home):
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": "wrong-token"}))

    assert caught.value.code == 401
    assert caught.value.response.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(caught.value.response.body)
    assert problem["code"] == "not-authenticated"
    assert problem["instance"] == "/a%40b/flaas/session"
    assert not (flaas_home / "credentials.json").exists()


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"token": 3}', '{"token": " "}', '{"token": "half'])
async def test_a_form_without_a_token_is_a_422(jp_fetch, body):
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "session", method="POST", body=body)

    assert caught.value.code == 422
    assert json.loads(caught.value.response.body)["code"] == "no-token"


async def test_a_token_that_no_header_can_carry_is_a_422_that_does_not_quote_it(jp_fetch, jp_logging_stream):
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": "gehe\u0131m-\u20ac"}))

    assert caught.value.code == 422
    assert "gehe" not in caught.value.response.body.decode()
    assert "gehe" not in jp_logging_stream.getvalue()


async def test_signing_out_forgets_the_token_everywhere(jp_fetch, fake_api, flaas_home):
    await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN}))

    response = await jp_fetch("flaas", "session", method="DELETE")

    assert response.code == 204
    assert not (flaas_home / "credentials.json").exists()
    status = json.loads((await jp_fetch("flaas", "status")).body)
    assert status["session"]["signed_in"] is False
    assert status["api"]["url"] == fake_api.url


async def test_the_token_is_in_no_answer_header_or_log_line(jp_fetch, fake_api, caplog, jp_logging_stream):
    caplog.set_level(logging.DEBUG)
    answers = [
        await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN})),
        await jp_fetch("flaas", "status"),
        await jp_fetch("flaas", "api", "v1", "me"),
        await jp_fetch("flaas", "api", "v1", "runs", "none", raise_error=False),
    ]
    await fake_api.stop()
    answers.append(await jp_fetch("flaas", "api", "v1", "me", raise_error=False))
    answers.append(
        await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN}), raise_error=False)
    )

    assert [answer.code for answer in answers] == [201, 200, 200, 404, 502, 502]
    for answer in answers:
        assert TOKEN not in answer.body.decode()
        assert TOKEN not in str(list(answer.headers.get_all()))
    assert TOKEN not in caplog.text
    assert TOKEN not in jp_logging_stream.getvalue()
    assert len(caplog.records) > 5  # there was a log to look at


async def test_status_says_that_the_api_does_not_answer(jp_fetch, fake_api):
    await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN}))
    await fake_api.stop()

    body = json.loads((await jp_fetch("flaas", "status")).body)

    assert body["api"]["reachable"] is False
    assert body["api"]["problem"]["code"] == "api-unreachable"
    assert body["session"]["signed_in"] is False
    assert body["session"]["has_token"] is True


async def test_status_refuses_another_version_of_the_api(jp_fetch, fake_api):
    fake_api.version = "v2"

    body = json.loads((await jp_fetch("flaas", "status")).body)

    assert body["api"]["problem"]["code"] == "unsupported-api"
    assert "'v2'" in body["api"]["problem"]["detail"]


async def test_a_token_that_was_revoked_shows_in_the_status(jp_fetch, fake_api, flaas_home):
    flaas_home.mkdir()
    (flaas_home / "credentials.json").write_text(json.dumps({"url": fake_api.url, "token": "revoked"}))

    body = json.loads((await jp_fetch("flaas", "status")).body)

    assert body["session"]["signed_in"] is False
    assert body["api"]["reachable"] is True
    assert body["api"]["problem"]["code"] == "not-authenticated"


async def test_status_names_this_machines_node(jp_fetch, flaas_home):
    flaas_home.mkdir()
    (flaas_home / "node.json").write_text(json.dumps({"name": "hospital-a"}))

    body = json.loads((await jp_fetch("flaas", "status")).body)

    assert body["session"]["node"] == "hospital-a"


def test_the_environment_goes_before_the_file_and_is_emptied(tmp_path: Path):
    (tmp_path / "credentials.json").write_text(json.dumps({"url": "https://file.example", "token": "file"}))
    session = Session(tmp_path, "http://default", LOG)
    environ = {"FLAAS_URL": "https://api.example/", "FLAAS_TOKEN": "from-environment", "PATH": "/bin"}

    session.take_environment(environ)

    assert session.credentials == Credentials("https://api.example", "from-environment")
    assert environ == {"PATH": "/bin"}
    assert stored(tmp_path) == {"url": "https://api.example", "token": "from-environment"}


def test_a_stored_token_is_not_sent_to_the_environments_other_api(tmp_path: Path):
    (tmp_path / "credentials.json").write_text(json.dumps({"url": "https://file.example", "token": "file"}))
    session = Session(tmp_path, "http://default", LOG)

    session.take_environment({"FLAAS_URL": "https://other.example"})

    assert session.credentials == Credentials("https://other.example", None)


def test_the_server_takes_the_token_out_of_its_environment(
    jp_configurable_serverapp, flaas_home: Path, fake_api: FakeApi, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLAAS_TOKEN", TOKEN)
    monkeypatch.setenv("FLAAS_URL", fake_api.url)

    app = jp_configurable_serverapp()

    assert "FLAAS_TOKEN" not in os.environ
    assert app.web_app.settings["flaas_session"].credentials == Credentials(fake_api.url, TOKEN)


def test_a_sign_in_with_the_command_shows_without_a_restart(tmp_path: Path):
    session = Session(tmp_path, "http://default", LOG)
    assert session.credentials.token is None

    (tmp_path / "credentials.json").write_text(json.dumps({"url": "https://api.example", "token": "new"}))
    assert session.credentials == Credentials("https://api.example", "new")

    (tmp_path / "credentials.json").unlink()
    assert session.credentials == Credentials("https://api.example", None)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 1, "token": 2}'])
def test_a_broken_credentials_file_means_not_signed_in(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture):
    (tmp_path / "credentials.json").write_text(content)

    assert Session(tmp_path, "http://default", LOG).credentials == Credentials("http://default", None)
    assert "credentials.json" in caplog.text


def test_a_folder_that_cannot_be_written_leaves_the_panel_signed_in(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("in the way")
    session = Session(tmp_path / "file", "http://default", LOG)

    session.sign_in(Credentials("https://api.example", TOKEN))

    assert session.credentials == Credentials("https://api.example", TOKEN)
    assert "cannot be written" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(session)


@pytest.mark.parametrize(
    "url",
    ["", "api.example", "ftp://api.example", "https://", "https://ana:x@api.example", "https://a/?b", "https://a:x"],
)
def test_what_is_no_address_of_an_api_is_refused(url: str):
    with pytest.raises(Problem) as caught:
        check_url(url, allow_plain_http=False)
    assert caught.value.code == "bad-url"


def test_a_token_does_not_cross_a_network_unencrypted():
    with pytest.raises(Problem) as caught:
        check_url("http://api.example", allow_plain_http=False)
    assert caught.value.code == "plain-http"
    assert check_url("http://api.example/", allow_plain_http=True) == "http://api.example"
    assert check_url("http://127.0.0.1:8470", allow_plain_http=False) == "http://127.0.0.1:8470"
    assert check_url(" https://api.example/flaas/ ", allow_plain_http=False) == "https://api.example/flaas"
