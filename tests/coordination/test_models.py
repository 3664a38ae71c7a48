"""Versions of models: kept when a run ends or is paused, released, revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.services import models as service
from flaas_jupyter.errors import Conflict, NotFound
from flaas_jupyter.governance.models import ModelVersion, keep, revoked

from .hosted_api import run_body

ONE, TWO, THREE = "11" * 32, "22" * 32, "33" * 32
WHY = {"reason": "It remembers names."}


def completed(federation, *digests, nodes=None):
    """Return the id of a run that has done a round for each digest."""
    run, leader, _ = federation.led_run(nodes or federation.three())
    leader.move(run, "running")
    for number, digest in enumerate(digests, start=1):
        assert leader.report(run, number, digest=digest).is_success
    leader.move(run, "finishing")
    assert leader.move(run, "completed").is_success
    return run


def versions(federation, query=""):
    return federation.developer.embedded(f"{federation.path}/models{query}", "models")


def who_revokes(federation):
    return federation.admin


def test_a_completed_run_has_made_one_version(federation):
    watched = federation.follow()
    run = completed(federation, ONE, TWO)
    (version,) = versions(federation)
    assert version["id"] == f"{run}-2"
    assert (version["run"], version["round"], version["digest"]) == (run, 2, TWO)
    assert (version["state"], version["reason"]) == ("candidate", None)
    assert federation.developer.get(f"/v1/models/{version['id']}") == version
    event = watched.until("model.changed")
    assert event["data"] == {"model": version["id"], "digest": TWO, "state": "candidate", "reason": None}
    assert federation.read(run)["_links"]["models"]["href"].endswith(f"/models?run={run}")


def test_a_stopped_run_has_made_what_its_last_round_made(federation):
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    leader.report(run, 1, digest=ONE)
    federation.developer.post(f"/v1/runs/{run}/cancel")
    assert [version["digest"] for version in versions(federation, f"?run={run}")] == [ONE]


def test_a_paused_run_has_made_a_version_and_so_has_the_round_that_was_under_way(federation):
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    leader.report(run, 1, digest=ONE)
    federation.developer.post(f"/v1/runs/{run}/pause")
    leader.report(run, 2, digest=TWO)
    assert {(v["round"], v["digest"]) for v in versions(federation)} == {(1, ONE), (2, TWO)}


def test_a_run_without_a_round_has_made_nothing(federation):
    run, _, _ = federation.led_run(federation.three())
    federation.developer.post(f"/v1/runs/{run}/cancel")
    assert versions(federation) == []


def test_an_aggregator_of_before_that_reports_no_digest_makes_no_version(federation):
    completed(federation, None)
    assert versions(federation) == []


def test_a_revoked_version_is_not_started_from(federation):
    nodes = federation.three()
    run = completed(federation, ONE, nodes=nodes)
    shown = who_revokes(federation).post(f"/v1/models/{run}-1/revoke", WHY)
    assert (shown["state"], shown["reason"]) == ("revoked", WHY["reason"])
    body = run_body(start_digest=ONE)
    problem = federation.developer.problem("POST", f"{federation.path}/runs", body)
    assert (problem["status"], problem["code"], problem["model"]) == (403, "model-revoked", f"{run}-1")
    assert WHY["reason"] in problem["detail"]
    assert federation.developer.call("POST", f"{federation.path}/runs", run_body(start_digest=TWO)).is_success
    assert [version["id"] for version in versions(federation, "?state=revoked")] == [f"{run}-1"]


def test_nodes_are_told_of_a_revocation(federation):
    nodes = federation.three()
    run = completed(federation, ONE, nodes=nodes)
    who_revokes(federation).post(f"/v1/models/{run}-1/revoke", WHY)
    assert nodes[0].stream.until("model.changed", state="revoked")["data"]["digest"] == ONE
    (revoked,) = nodes[0].api.embedded(f"{federation.path}/models?state=revoked", "models")
    assert revoked["digest"] == ONE


def test_the_same_weights_are_revoked_whichever_run_made_them(federation):
    nodes = federation.three()
    first, second = completed(federation, ONE, nodes=nodes), completed(federation, ONE, nodes=nodes)
    who_revokes(federation).post(f"/v1/models/{first}-1/revoke", WHY)
    third = completed(federation, ONE, nodes=nodes)
    assert {v["id"]: v["state"] for v in versions(federation)} == {
        f"{run}-1": "revoked" for run in (first, second, third)
    }


def test_a_revocation_is_for_good(federation):
    run = completed(federation, ONE)
    path = f"/v1/models/{run}-1"
    who_revokes(federation).post(f"{path}/revoke", WHY)
    again = who_revokes(federation).post(f"{path}/revoke", {"reason": "Another."})
    assert again["reason"] == WHY["reason"]
    assert not {"revoke", "release"} & set(again["_links"])
    assert federation.developer.refused("POST", f"{path}/release", {}) == (409, "model-revoked")


def test_who_may_revoke_and_release(federation):
    run = completed(federation, ONE)
    path = f"/v1/models/{run}-1"
    viewer, stranger = federation.person("viewer", "laboratory"), federation.person("operator", "elsewhere")
    assert viewer.refused("POST", f"{path}/revoke", WHY)[0] == 403
    assert viewer.refused("POST", f"{path}/release", {})[0] == 403
    assert federation.developer.refused("POST", f"{path}/revoke", WHY)[0] == 403
    assert stranger.refused("GET", path) == (404, "unknown-model")
    assert stranger.refused("GET", f"{federation.path}/models") == (404, "unknown-project")
    assert not {"revoke", "release"} & set(viewer.get(path)["_links"])
    links = federation.developer.get(path)["_links"]
    assert "release" in links
    assert "revoke" not in links


def test_there_is_no_such_model(federation):
    assert federation.developer.refused("GET", "/v1/models/nothing-1") == (404, "unknown-model")


def test_a_release_is_asked_for_and_approved_by_others_or_done_at_once(federation):
    watched = federation.follow()
    run = completed(federation, ONE)
    path = f"/v1/models/{run}-1"
    response = federation.developer.call("POST", f"{path}/release", {})
    if response.status_code == 202:  # the policy asks others
        assert response.headers["Location"].startswith("/v1/approvals/")
        assert response.json()["action"] == "model.release"
        assert federation.developer.get(path)["state"] == "candidate"
        return
    assert response.json()["state"] == "released"
    assert "release" not in response.json()["_links"]
    watched.until("model.changed", state="released")
    assert federation.developer.post(f"{path}/release")["state"] == "released", "once more changes nothing"


# ---- release: as approvals carry it out --------------------------------------------------------------------


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    yield opened
    opened.close()


def stored(session, digest=ONE, state="candidate", run="run"):
    version = ModelVersion(
        id=f"{run}-1", project="credit", run=run, round=1, digest=digest, state=state,
        created=datetime.now(UTC), reason=None,
    )  # fmt: skip
    session.add(version)
    session.flush()
    return version


def context(session):
    return SimpleNamespace(session=session, requester=None, request_id="1")


BODY = {"model": "run-1", "project": "credit", "digest": ONE}


def test_what_was_approved_is_released(database):
    with database.writing() as session:
        version = stored(session)
        assert service.carry_out_release(context(session), BODY) == {"model": "run-1", "state": "released"}
        assert version.state == "released"


def test_other_weights_than_those_approved_are_not_released(database):
    with database.writing() as session:
        version = stored(session, TWO)
        with pytest.raises(Conflict, match=ONE) as caught:
            service.carry_out_release(context(session), BODY)
        assert caught.value.code == "model-changed"
        assert version.state == "candidate"


def test_what_was_revoked_or_is_gone_in_the_meantime_is_not_released(database):
    with database.writing() as session:
        with pytest.raises(NotFound):
            service.carry_out_release(context(session), BODY)
        stored(session, state="revoked")
        with pytest.raises(Conflict) as caught:
            service.carry_out_release(context(session), BODY)
        assert caught.value.code == "model-revoked"


def test_a_round_that_is_led_again_changes_a_candidate_only(database):
    with database.writing() as session:
        made = {"project": "credit", "run": "run", "round": 1}
        assert keep(session, **made, digest=ONE).state == "candidate"
        assert keep(session, **made, digest=ONE) is None
        assert keep(session, **made, digest=TWO).digest == TWO
        session.get(ModelVersion, "run-1").state = "released"
        assert keep(session, **made, digest=THREE) is None
        assert session.get(ModelVersion, "run-1").digest == TWO
        assert revoked(session, "credit", TWO) is None
