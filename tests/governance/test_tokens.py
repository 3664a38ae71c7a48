"""Tokens: opaque, kept as a digest, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from flaas_jupyter.coordination.tables import Base
from flaas_jupyter.errors import NotAuthenticated
from flaas_jupyter.governance import tokens
from flaas_jupyter.governance.identity import role_sessions
from flaas_jupyter.governance.rbac import core, defaults, grants
from flaas_jupyter.governance.rbac.errors import RbacError
from flaas_jupyter.governance.tables import Organisation, Token


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        opened.add(Organisation(id="north", name="North", created=datetime.now(UTC)))
        defaults.install(opened)
        core.add_user(opened, "ada")
        core.assign_user(opened, "ada", "developer", "organisation:north")
        core.assign_user(opened, "ada", "data-owner", "organisation:north")
        yield opened
    engine.dispose()


def issue(session, **changes):
    return tokens.issue(session, **{"user": "ada", "organisation": "north", "note": "x", **changes})


def active(session, row):
    return grants.of(session, row.session).roles


def test_a_token_is_verified(session):
    row, plain = issue(session)
    assert tokens.verify(session, plain) is row
    assert (row.user, row.organisation, row.note, row.expires) == ("ada", "north", "x", None)


def test_a_token_has_as_many_roles_as_go_together_or_those_that_are_named(session):
    assert active(session, issue(session)[0]) == (("data-owner", "organisation:north"),)
    assert active(session, issue(session, roles=["developer"])[0]) == (("developer", "organisation:north"),)
    assert active(session, issue(session, roles=[("viewer", "organisation:north")])[0]) == (
        ("viewer", "organisation:north"),
    )
    for wrong in (["developer", "data-owner"], ["operator"], [("developer", "platform")]):
        with pytest.raises(RbacError):
            issue(session, roles=wrong)


def test_what_was_named_is_never_added_to(session):
    row, _ = issue(session, roles=["viewer"])
    role_sessions.activate(session, "ada", row.session, [("developer", "organisation:north")])
    assert active(session, row) == (("viewer", "organisation:north"),)


def test_a_revoked_token_ends_its_session(session):
    row, plain = issue(session)
    tokens.revoke(session, row)
    with pytest.raises(NotAuthenticated):
        tokens.verify(session, plain)
    with pytest.raises(RbacError):
        grants.of(session, row.session)
    assert tokens.of_user(session, "ada") == []


def test_only_its_digest_is_kept(session):
    row, plain = issue(session)
    assert row.digest == hashlib.sha256(plain.encode()).hexdigest()
    secret = plain.split("_", 2)[2]
    assert len(secret) == 43, "256 bits"
    kept = [str(getattr(row, column.key)) for column in Token.__table__.columns]
    assert not any(secret in value for value in kept)


def test_no_two_tokens_are_alike(session):
    assert len({issue(session)[1] for _ in range(50)}) == 50


def test_anything_else_is_refused(session):
    _, plain = issue(session)
    other = issue(session)[1]
    swapped = "_".join([*plain.split("_", 2)[:2], other.split("_", 2)[2]])
    for wrong in (
        "",
        "flaas",
        "flaas__",
        plain[:-1],
        plain + "x",
        plain.upper(),
        swapped,
        plain.split("_", 2)[2],
        "é" * 80,
    ):
        with pytest.raises(NotAuthenticated) as caught:
            tokens.verify(session, wrong)
        assert caught.value.code == "bad-token"
        assert len(wrong) < 10 or wrong not in str(caught.value), "what was sent is not repeated"


def test_secrets_are_compared_in_constant_time_known_or_not(session, monkeypatch):
    _, plain = issue(session)
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or a == b)
    tokens.verify(session, plain)
    for wrong in (plain[:-1], "flaas_000000000000_nothing"):
        with pytest.raises(NotAuthenticated):
            tokens.verify(session, wrong)
    assert compared == [(64, 64)] * 3


def test_a_token_expires(session):
    row, plain = issue(session, expires=datetime.now(UTC) + timedelta(seconds=60))
    assert tokens.verify(session, plain) is row
    row.expires = datetime.now(UTC)
    with pytest.raises(NotAuthenticated) as caught:
        tokens.verify(session, plain)
    assert caught.value.code == "token-expired"
