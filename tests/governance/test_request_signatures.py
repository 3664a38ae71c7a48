"""Requests signed by nodes: for one request, by one key, once, and at about the right time."""

from __future__ import annotations

import base64
import json
import time
import warnings

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from flaas_jupyter.communications.identity import Identity, request_token
from flaas_jupyter.errors import NotAuthenticated, NotFound
from flaas_jupyter.governance.identity import NodeSignatures, Presented, recognise

URL = "http://api.example:8470"
NOW = int(time.time())


@pytest.fixture
def identity():
    return Identity(b"k" * 32)


class Nodes:
    """Who is registered, what was seen, and what time it is."""

    def __init__(self, identity: Identity) -> None:
        self.registered = {identity.node_id: "north"}
        self.seen: set[tuple[str, str]] = set()
        self.now = float(NOW)

    def first_use(self, node_id, jti, expires) -> bool:
        if (node_id, jti) in self.seen:
            return False
        self.seen.add((node_id, jti))
        return True

    def ask(self, token: str, method: str = "GET", path: str = "/v1/me", audience: str = URL):
        authenticator = NodeSignatures(self.registered.get, self.first_use, lambda: self.now)
        presented = Presented("FlaasNode", token, method, path, audience)
        return recognise([authenticator], presented)


@pytest.fixture
def nodes(identity):
    return Nodes(identity)


def signed(identity: Identity, header=None, **changes) -> str:
    """Return a token as a node would make it, with changes."""
    claims = {
        "iss": identity.node_id, "sub": identity.node_id, "aud": URL, "htm": "GET", "htu": "/v1/me",
        "iat": NOW, "exp": NOW + 60, "jti": "one", **changes,
    }  # fmt: skip
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"alg": "Ed25519", "kid": identity.node_id, **(header or {})}
    return jwt.encode(header, claims, OKPKey.import_key(identity._key), algorithms=["Ed25519", "EdDSA"])


def refusal(nodes: Nodes, token: str, **options) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as caught:
        nodes.ask(token, **options)
    assert nodes.seen == set(), "what was refused is not noted"
    return caught.value


def test_a_node_is_recognised_by_its_signature(nodes, identity):
    nodes.now = time.time()
    caller = nodes.ask(request_token(identity, "GET", f"{URL}/v1/me?x=1"))
    assert (caller.subject, caller.kind, caller.organisation) == (identity.node_id, "node", "north")
    assert caller.may("node:act", "organisation:north")
    assert not caller.may("node:register")


def test_a_request_is_made_once(nodes, identity):
    token = signed(identity)
    nodes.ask(token)
    with pytest.raises(NotAuthenticated) as caught:
        nodes.ask(token)
    assert caught.value.code == "replayed"
    nodes.ask(signed(identity, jti="two"))


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("htm", "POST"), ("htu", "/v1/runs"), ("htu", "/v1/me/"), ("aud", "http://other.example:8470"), ("aud", [URL]),
        ("iss", "ab" * 32), ("sub", "ab" * 32), ("htm", None), ("aud", None),
    ],
)  # fmt: skip
def test_a_signature_is_for_one_request_to_one_api(nodes, identity, claim, value):
    assert refusal(nodes, signed(identity, **{claim: value})).code == "wrong-request"


@pytest.mark.parametrize("off", [-3600, -61, 61, 3600])
def test_a_clock_that_is_off_is_told_with_both_times(nodes, identity, off):
    nodes.now = NOW + off
    error = refusal(nodes, signed(identity))
    assert error.code == "clock-skew"
    for moment in (NOW, NOW + off):
        assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) in error.message
    assert set(error.details) == {"node_time", "api_time"}


@pytest.mark.parametrize("off", [-60, 0, 60])
def test_a_clock_may_be_a_minute_off(nodes, identity, off):
    nodes.now = NOW + off
    assert nodes.ask(signed(identity))


def test_a_request_that_has_expired_is_refused(nodes, identity):
    nodes.now = NOW + 10
    assert refusal(nodes, signed(identity, exp=NOW + 5)).code == "token-expired"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW + 61}, {"exp": NOW - 1}, {"exp": None}, {"iat": None}, {"iat": "now"}, {"iat": True},
        {"iat": NOW + 0.5}, {"iat": 1 << 70}, {"jti": None}, {"jti": ""}, {"jti": 7}, {"jti": "x" * 101},
        {"jti": "a\x00"},
    ],
)  # fmt: skip
def test_claims_that_make_no_sense_are_refused(nodes, identity, changes):
    assert refusal(nodes, signed(identity, **changes)).code == "bad-signature"


def test_another_key_is_refused(nodes, identity):
    other = Identity(b"o" * 32)
    assert refusal(nodes, signed(other, {"kid": identity.node_id})).code == "bad-signature"
    assert refusal(nodes, signed(other, {"kid": identity.node_id}, iss=identity.node_id, sub=identity.node_id))


def test_a_key_that_nobody_registered_is_told_so(nodes):
    stranger = Identity(b"s" * 32)
    with pytest.raises(NotFound) as caught:
        nodes.ask(signed(stranger))
    assert caught.value.code == "unknown-node"
    assert nodes.seen == set()


def part(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_no_other_algorithm_is_accepted(nodes, identity):
    claims = {"iss": identity.node_id, "sub": identity.node_id, "aud": URL, "htm": "GET", "htu": "/v1/me",
              "iat": NOW, "exp": NOW + 60, "jti": "one"}  # fmt: skip
    none = f"{part({'alg': 'none', 'kid': identity.node_id})}.{part(claims)}."
    public = OctKey.import_key(bytes.fromhex(identity.node_id))
    hmac = jwt.encode({"alg": "HS256", "kid": identity.node_id}, claims, public, algorithms=["HS256"])
    with warnings.catch_warnings(action="ignore"):  # joserfc says that EdDSA is deprecated, as it should
        deprecated = signed(identity, {"alg": "EdDSA"})
    for token in (none, hmac, deprecated):
        assert refusal(nodes, token).code == "bad-signature"


def test_garbage_is_refused(nodes, identity):
    sound = signed(identity)
    head, body, signature = sound.split(".")
    kid = identity.node_id
    for garbage in (
        "", ".", "..", "...", "x", "x.y.z", sound[:-2], f"{head}.{body}", f"{head}.{body}.{signature}.{signature}",
        f"{head}.{part(b'[]')}.{signature}", f"{part(b'null')}.{body}.{signature}",
        f"{part(b'[' * 5000)}.{body}.{signature}",
        *(f"{part({'alg': 'Ed25519', 'kid': wrong})}.{body}.{signature}" for wrong in
          (None, 7, "", "zz", kid.upper(), kid[:-2], kid + "00", "é", [kid], {"x": 1}, "00" * 32, "ff" * 32)),
        f"{part({'alg': 'Ed25519'})}.{body}.{signature}", f"{part({'alg': 7, 'kid': kid})}.{body}.{signature}",
        f"{part({'alg': 'Ed25519', 'kid': kid, 'crit': ['x']})}.{body}.{signature}", "\udcff" * 10, "é.é.é",
    ):  # fmt: skip
        assert refusal(nodes, garbage).code == "bad-signature", garbage[:80]


def test_another_scheme_names_those_that_there_are(nodes):
    authenticator = NodeSignatures(nodes.registered.get, nodes.first_use)
    with pytest.raises(NotAuthenticated, match="FlaasNode") as caught:
        recognise([authenticator], Presented("Basic", "x", "GET", "/", URL))
    assert caught.value.code == "unknown-scheme"
