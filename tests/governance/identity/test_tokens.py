"""Access tokens: whoever holds one that is not exactly ours, in force and for us, is nobody."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, OKPKey

from flaas_jupyter.governance.identity import keys, persons, sign_ins
from flaas_jupyter.governance.identity.provider import Lifetimes
from flaas_jupyter.governance.identity.tables import Person, RefreshToken, SignIn, SigningKey
from flaas_jupyter.governance.rbac import core, grants
from flaas_jupyter.governance.rbac.errors import RbacError

from .identity_api import Browser, Clock, IdentityApi, assertion


def _parts(token: str) -> list[dict[str, Any]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _refused(api: IdentityApi, token: str) -> str:
    answer = api.me(token)
    assert answer.status_code == 401, answer.text
    assert "WWW-Authenticate" in answer.headers
    assert token not in answer.text
    return str(answer.json()["code"])


def test_an_independent_client_verifies_a_token_with_the_published_keys(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    granted = identity.sign_in("ana", "openid")
    found = identity.http.get("/.well-known/openid-configuration").json()
    answer = identity.http.get(found["jwks_uri"])
    published = KeySet.import_key_set(answer.json())
    assert "max-age=300" in answer.headers["Cache-Control"]

    access = jwt.decode(granted["access_token"], published, algorithms=["EdDSA"])
    id_token = jwt.decode(granted["id_token"], published, algorithms=["EdDSA"])

    assert access.header["typ"] == "at+jwt"
    assert access.claims["iss"] == access.claims["aud"] == found["issuer"] == identity.url
    assert access.claims["sub"] == "ana"
    assert 300 <= access.claims["exp"] - access.claims["iat"] <= 600
    assert set(access.claims) == {"iss", "aud", "sub", "client_id", "sid", "scope", "jti", "iat", "exp"}
    assert id_token.claims["aud"] == "flaas-web"
    assert id_token.claims["auth_time"] <= id_token.claims["iat"]
    assert {key["kid"] for key in answer.json()["keys"]} == {
        OKPKey.import_key(key).thumbprint() for key in answer.json()["keys"]
    }
    assert all("d" not in key for key in answer.json()["keys"])


def test_what_is_not_exactly_an_access_token_of_this_api_is_refused(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    granted = identity.sign_in("ana", "openid")
    token = granted["access_token"]
    header, claims = _parts(token)
    head, body, signature = token.split(".")
    foreign = OKPKey.generate_key("Ed25519")
    with identity.database.writing() as session:
        kid, key = identity.provider.signer.key(session, identity.provider.now())
        public = session.get_one(SigningKey, kid).public

    def signed(new_header: dict[str, Any], new_claims: dict[str, Any], by: Any = key) -> str:
        return jwt.encode(new_header, new_claims, by, algorithms=["EdDSA", "Ed25519", "HS256", "none"])

    assert identity.me(signed(header, claims)).status_code == 200
    wrong = {
        "no algorithm": f"{_encode({**header, 'alg': 'none'})}.{body}.",
        "no algorithm, signature kept": f"{_encode({**header, 'alg': 'none'})}.{body}.{signature}",
        "another algorithm's name": signed({**header, "alg": "Ed25519"}, claims),
        "the public key as a shared secret": signed({**header, "alg": "HS256"}, claims, OctKey.import_key(public)),
        "tampered claims": f"{head}.{_encode({**claims, 'sub': 'boss'})}.{signature}",
        "tampered signature": f"{head}.{body}.{signature[:-4]}AAAA",
        "another key under our id": signed(header, claims, foreign),
        "another key": signed({**header, "kid": foreign.thumbprint()}, claims, foreign),
        "a key in the header": signed({**header, "jwk": foreign.as_dict(private=False)}, claims, foreign),
        "id token": granted["id_token"],
        "plain type": signed({**header, "typ": "JWT"}, claims),
        "no type": signed({name: value for name, value in header.items() if name != "typ"}, claims),
        "audience": signed(header, {**claims, "aud": "https://other.example"}),
        "audiences": signed(header, {**claims, "aud": [identity.url, "https://other.example"]}),
        "issuer": signed(header, {**claims, "iss": "https://other.example"}),
        "another person's session": signed(header, {**claims, "sub": "boss"}),
        "no session": signed(header, {name: value for name, value in claims.items() if name != "sid"}),
        "a node with a session": signed(header, {**claims, "kind": "node"}),
        "unreadable": "a.b.c",
        "too long": f"{head}.{body}.{'A' * 9000}",
        "from the future": signed(header, {**claims, "iat": claims["iat"] + 3600, "exp": claims["exp"] + 3600}),
        "expiry as text": signed(header, {**claims, "exp": str(claims["exp"])}),
    }
    accepted = {
        name for name, candidate in wrong.items() if _refused(identity, candidate) not in ("bad-token", "signed-out")
    }
    assert not accepted


def test_a_token_dies_by_itself(identity: IdentityApi, clock: Clock) -> None:
    identity.add("ana", "developer")
    token = identity.sign_in("ana")["access_token"]
    clock.ahead = 320
    assert identity.me(token).status_code == 200  # half a minute for clocks that differ
    clock.ahead = 331
    assert _refused(identity, token) == "token-expired"


def test_a_role_that_is_taken_away_is_gone_at_once(identity: IdentityApi) -> None:
    identity.add("ana", "viewer", ("developer", "project:credit"))
    token = identity.sign_in("ana")["access_token"]
    assert "run:create" in identity.me(token).json()["permissions"]
    with identity.database.writing() as session:
        core.deassign_user(session, "ana", "developer", "project:credit")
    assert "run:create" not in identity.me(token).json()["permissions"]


@pytest.mark.parametrize("how", ["locked", "removed", "signed out", "session deleted", "user deleted"])
def test_whose_account_or_session_has_ended_is_nobody(identity: IdentityApi, how: str) -> None:
    identity.add("ana", "developer")
    granted = identity.sign_in("ana")
    with identity.database.writing() as session:
        person = session.get_one(Person, "ana")
        if how == "locked":
            persons.lock(session, person, locked=True)
        elif how == "removed":
            persons.remove(session, person)
        elif how == "signed out":
            assert sign_ins.end_all(identity.provider, session, "ana", "test") == 1
        elif how == "user deleted":
            core.delete_user(session, "ana")
        else:
            row = session.query(SignIn).one()
            from flaas_jupyter.governance.identity import role_sessions

            role_sessions.close_session(session, "ana", row.session)
    assert _refused(identity, granted["access_token"]) == "signed-out"
    if how in ("locked", "removed", "signed out"):
        assert identity.refresh(granted["refresh_token"]).json()["error"] == "invalid_grant"


# ---- refresh tokens -------------------------------------------------------------------------------------------------


def test_a_stolen_refresh_token_ends_the_family_and_its_session(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    first = identity.sign_in("ana")
    second = identity.refresh(first["refresh_token"]).json()
    other = identity.sign_in("ana")
    assert identity.me(second["access_token"]).status_code == 200

    stolen = identity.refresh(first["refresh_token"])

    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert stolen.headers["Cache-Control"] == "no-store"
    assert identity.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert _refused(identity, second["access_token"]) == "signed-out"
    assert identity.me(other["access_token"]).status_code == 200  # another sign-in has nothing to do with it
    with identity.database.reading() as session:
        ended = session.query(SignIn).filter(SignIn.ended.is_not(None)).one()
        assert ended.reason == "reused"
        with pytest.raises(RbacError):
            grants.of(session, ended.session)
    assert identity.audited[-1]["operation"] == "session:end"
    assert identity.audited[-1]["outcome"] == "refused"


def test_of_two_refreshes_at_once_one_wins_and_the_family_ends(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    token = identity.sign_in("ana")["refresh_token"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: identity.refresh(token), range(4)))
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert identity.refresh(won[0].json()["refresh_token"]).status_code == 400


def test_a_sign_in_ends_when_it_is_idle_or_old(identity: IdentityApi, clock: Clock) -> None:
    lifetimes = Lifetimes()
    identity.add("ana", "developer")
    token = identity.sign_in("ana")["refresh_token"]
    days = lifetimes.absolute // timedelta(days=1)
    idle = lifetimes.idle // timedelta(days=1)
    for day in range(idle - 1, days, idle - 1):
        clock.ahead = day * 86_400.0
        token = identity.refresh(token).json()["refresh_token"]
    clock.ahead = days * 86_400.0 + 1
    assert identity.refresh(token).status_code == 400

    clock.ahead = 0
    token = identity.sign_in("ana")["refresh_token"]
    clock.ahead = lifetimes.idle.total_seconds() + 1
    assert identity.refresh(token).status_code == 400


def test_a_refresh_token_is_good_for_its_client_and_scope_only_and_is_not_kept(identity: IdentityApi) -> None:
    identity.add("ana", "developer", "data-owner")
    granted = identity.sign_in("ana", "role:developer")
    token = granted["refresh_token"]
    assert identity.refresh(token, client="flaas-cli").json()["error"] == "invalid_grant"
    wider = identity.token(
        grant_type="refresh_token", refresh_token=token, client_id="flaas-web", scope="role:data-owner"
    )
    assert wider.json()["error"] == "invalid_scope"
    with identity.database.reading() as session:
        assert all(token not in vars(row).values() for row in session.query(RefreshToken))
    assert identity.refresh(token).json()["scope"] == granted["scope"] == "role:developer@platform"


# ---- signing keys ---------------------------------------------------------------------------------------------------


def _rotate(api: IdentityApi, **options: bool) -> str:
    with api.database.writing() as session:
        return keys.rotate(session, api.provider.vault, api.provider.now(), **options).kid


def _kids(api: IdentityApi) -> list[str]:
    return [key["kid"] for key in api.http.get("/oauth/jwks").json()["keys"]]


def test_the_next_key_is_published_before_its_use_and_the_old_until_its_tokens_have_died(
    identity: IdentityApi, clock: Clock
) -> None:
    identity.add("ana", "developer")
    before = identity.sign_in("ana")["access_token"]
    old = _parts(before)[0]["kid"]
    known = _kids(identity)
    with pytest.raises(keys.Conflict) as refused:
        _rotate(identity)
    assert refused.value.code == "key-not-published"

    clock.ahead = keys.CACHE_SECONDS + 1.0
    assert _rotate(identity) in known  # whoever has cached the set knows the new key
    after = identity.sign_in("ana")["access_token"]
    assert _parts(after)[0]["kid"] in set(known) - {old}
    clock.ahead = 290.0  # the token from before is good to its end
    assert identity.me(before).status_code == 200
    assert identity.me(after).status_code == 200

    clock.ahead = keys.CACHE_SECONDS + 1.0 + keys.LONGEST_TOKEN_SECONDS + keys.LEEWAY_SECONDS + 1
    assert old not in _kids(identity)
    _rotate(identity)
    with identity.database.reading() as session:
        assert session.get(SigningKey, old) is None
        assert sorted(row.state for row in session.query(SigningKey)) == ["active", "next", "retired"]


def test_a_compromised_key_is_refused_at_once(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    granted = identity.sign_in("ana")
    known = _kids(identity)
    assert _rotate(identity, compromised=True) not in known
    identity.provider.keys.forget()
    assert _refused(identity, granted["access_token"]) == "bad-token"
    renewed = identity.refresh(granted["refresh_token"]).json()["access_token"]
    assert identity.me(renewed).status_code == 200


def test_processes_on_one_data_base_agree_on_the_keys(identity: IdentityApi, clock: Clock) -> None:
    other = IdentityApi(identity.database, clock)
    try:
        assert _kids(identity) == _kids(other)
        clock.ahead = keys.CACHE_SECONDS + 1.0
        active = _rotate(other)
        identity.add("ana", "developer")
        assert _parts(identity.sign_in("ana")["access_token"])[0]["kid"] == active
    finally:
        other.stop()


def test_private_keys_are_sealed(identity: IdentityApi) -> None:
    with identity.database.writing() as session:
        _, key = identity.provider.signer.key(session, identity.provider.now())
        private = str(key.as_dict(private=True)["d"])
        raw = base64.urlsafe_b64decode(private + "=")
        for row in session.query(SigningKey):
            assert private not in row.sealed
            assert base64.b64encode(raw).decode() not in row.sealed


# ---- nodes ----------------------------------------------------------------------------------------------------------


def test_a_node_gets_a_token_with_its_own_key_once_an_assertion(identity: IdentityApi) -> None:
    node = identity.add_node()
    proof = assertion(node, f"{identity.url}/oauth/token")
    granted = identity.token(grant_type="client_credentials", **proof)
    assert granted.status_code == 200, granted.text
    assert "refresh_token" not in granted.json()
    me = identity.me(granted.json()["access_token"]).json()
    assert (me["subject"], me["kind"]) == (node.node_id, "node")

    again = identity.token(grant_type="client_credentials", **proof)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" in again.headers

    from flaas_jupyter.coordination.tables import Node

    with identity.database.writing() as session:
        session.get_one(Node, node.node_id).removed = identity.provider.now()
    assert _refused(identity, granted.json()["access_token"]) == "signed-out"


def test_assertions_that_are_not_sound_are_refused(identity: IdentityApi) -> None:
    node, stranger = identity.add_node(), identity.add_node()
    audience = f"{identity.url}/oauth/token"
    now = identity.clock()
    wrong = [
        assertion(node, "https://other.example"),
        assertion(node, audience, now - 200),
        assertion(node, audience, now + 200),
        assertion(node, audience, exp=int(now) + 3600),
        assertion(node, audience, sub=stranger.node_id),
        assertion(node, audience, iss=stranger.node_id, sub=stranger.node_id),
        assertion(node, audience, jti=""),
        assertion(node, audience, jti=5),
        assertion(node, audience, exp="soon"),
        assertion(type(node).generate(), audience),
        {**assertion(node, audience), "client_assertion_type": "jwt"},
        {**assertion(node, audience), "client_id": stranger.node_id},
        {**assertion(node, audience), "client_assertion": "a.b.c"},
        {**assertion(node, audience), "client_assertion": "x" * 9000},
    ]
    for proof in wrong:
        answer = identity.token(grant_type="client_credentials", **proof)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text
    assert identity.token(grant_type="client_credentials", **assertion(node, [audience])).status_code == 200


def test_a_code_flow_token_names_the_roles_that_may_be_active_together(identity: IdentityApi) -> None:
    identity.add("ana", ("developer", "project:credit"), "data-owner", ("approver", "project:loans"))
    everything = identity.sign_in("ana")
    assert everything["scope"] == "role:approver@project:loans role:data-owner@platform"
    chosen = identity.sign_in("ana", "role:developer")
    assert chosen["scope"] == "role:developer@project:credit"
    browser = Browser(identity)
    both = browser.redeem(browser.code("ana", scope="role:developer role:data-owner"))
    assert (both.status_code, both.json()["error"]) == (400, "invalid_scope")
    assert "data-and-development" in both.json()["error_description"]
