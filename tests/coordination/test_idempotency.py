"""Requests that are repeated because their answer was lost: they do nothing twice."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from flaas_jupyter.coordination import idempotency
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.tables import Keyed

from .hosted_api import run_body

KEY = {"Idempotency-Key": "3b241101-e2bb-4255-8caf-4136c566a962"}


def test_a_repeated_creation_gets_the_first_answer(federation):
    federation.node("north")
    path = f"{federation.path}/runs"
    first = federation.developer.call("POST", path, run_body(), headers=KEY)
    again = federation.developer.call("POST", path, run_body(), headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content.replace(b'":', b'": ').replace(b',"', b', "') or again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (again.headers.get("Idempotent-Replayed"), first.headers.get("Idempotent-Replayed")) == ("true", None)
    assert len(federation.developer.embedded(path, "runs")) == 1


def test_two_creations_at_once_make_one(federation):
    federation.node("north")
    path = f"{federation.path}/runs"
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(federation.developer.call("POST", path, run_body(), headers=KEY))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(federation.developer.embedded(path, "runs")) == 1


def test_a_key_is_for_one_request(federation):
    federation.node("north")
    path = f"{federation.path}/runs"
    federation.developer.post(path, run_body(), headers=KEY)
    assert federation.developer.refused("POST", path, run_body(rounds=9), headers=KEY) == (422, "idempotency-mismatch")
    run = federation.developer.embedded(path, "runs")[0]["id"]
    assert federation.developer.refused("POST", f"/v1/runs/{run}/cancel", run_body(), headers=KEY) == (
        422,
        "idempotency-mismatch",
    )
    other = federation.person("developer", "north")
    assert other.call("POST", path, run_body(rounds=9), headers=KEY).status_code == 201, "keys are everybody's own"


def test_what_was_refused_may_be_tried_again_with_the_key(federation):
    path = f"{federation.path}/runs"
    assert federation.developer.refused("POST", path, run_body(), headers=KEY) == (404, "unknown-dataset")
    federation.node("north")
    assert federation.developer.call("POST", path, run_body(), headers=KEY).status_code == 201


def test_a_token_is_not_kept_for_repetitions(federation, database_url):
    person = {"organisation": "north", "email": "ada@north.example"}
    for path, body, secret in (("/v1/tokens", {}, "token"), ("/v1/users", person, "invitation")):
        first = federation.governor.post(path, body, headers={"Idempotency-Key": path})
        again = federation.governor.post(path, body, headers={"Idempotency-Key": path})
        assert (again["id"], again[secret]) == (first["id"], None)
        database = Database(database_url)
        with database.reading() as session:
            assert first[secret] not in "".join(session.scalars(select(Keyed.body)))
        database.close()


def test_an_aggregators_transition_is_repeated_safely(federation):
    run, leader, _ = federation.led_run([federation.node("north", online=True)])
    body = {"to": "running", "term": 1, "reason": None}
    for _ in range(2):
        response = leader.api.call("POST", f"/v1/runs/{run}/transitions", body, headers=KEY)
        assert response.status_code == 200
    told = [
        e["data"]["to"]
        for e in federation.developer.embedded(f"/v1/runs/{run}/events", "events")
        if e["type"] == "run.state"
    ]
    assert told == ["gathering", "running"]


def test_a_key_is_forgotten_after_a_day(federation, database_url):
    federation.admin.post("/v1/organisations", {"id": "east", "name": "East"}, headers=KEY)
    database = Database(database_url)
    with database.writing() as session:
        session.execute(update(Keyed).values(created=datetime.now(UTC) - timedelta(hours=24, seconds=1)))
    assert federation.admin.refused("POST", "/v1/organisations", {"id": "east", "name": "East"}, headers=KEY) == (
        409,
        "organisation-exists",
    )
    with database.writing() as session:
        idempotency.purge(session)
        assert session.scalars(select(Keyed)).all() == []
    database.close()


def test_a_key_is_printable(federation):
    for key in ("", "x" * 201, "é".encode().decode("latin-1"), "a\tb"):
        headers = {"Idempotency-Key": key.encode("latin-1")}
        body = {"id": "east", "name": "East"}
        assert federation.admin.refused("POST", "/v1/organisations", body, headers=headers) == (
            422,
            "bad-idempotency-key",
        )
