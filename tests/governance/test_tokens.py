"""Tokens: opaque, kept as a digest, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from flaas_jupyter.errors import NotAuthenticated
from flaas_jupyter.governance import tokens
from flaas_jupyter.governance.tables import Base, Organisation, Token


@pytest.fixture
def session(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/tokens.db")
    tables = [Organisation.__table__, Token.__table__]
    Base.metadata.create_all(engine, tables=tables)
    with Session(engine) as opened:
        opened.add(Organisation(id="north", name="North", created=datetime.now(UTC)))
        yield opened
    engine.dispose()


def issue(session, **changes):
    return tokens.issue(session, **{"subject": "ada", "organisation": "north", "role": "viewer", **changes})


def test_a_token_is_verified(session):
    row, plain = issue(session)
    assert tokens.verify(session, plain) is row
    assert (row.subject, row.organisation, row.role, row.expires) == ("ada", "north", "viewer", None)


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
    row, plain = issue(session, expires_in=60)
    assert tokens.verify(session, plain) is row
    row.expires = datetime.now(UTC)
    with pytest.raises(NotAuthenticated) as caught:
        tokens.verify(session, plain)
    assert caught.value.code == "token-expired"


def test_an_expired_administrator_is_none(session):
    assert not tokens.has_administrator(session)
    row, _ = issue(session, role="admin", expires_in=60)
    assert tokens.has_administrator(session)
    row.expires = datetime.now(UTC)
    assert not tokens.has_administrator(session)
