"""Keys, signatures and request tokens."""

from __future__ import annotations

import multiprocessing
import pickle
import stat
import time
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from flaas_jupyter.communications.identity import (
    _SMALL_ORDER,
    Identity,
    canonical,
    open_document,
    origin,
    request_token,
    sign_document,
    verify,
)
from flaas_jupyter.errors import InvalidInput, NotAllowed, NotAuthenticated

# RFC 8032, section 7.1, test 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_the_node_id_is_the_public_key_of_rfc_8032() -> None:
    assert Identity(SEED).node_id == PUBLIC


def test_a_key_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "home" / "node.key"
    made = Identity.load_or_create(path)
    assert Identity.load_or_create(path).node_id == made.node_id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["node.key"]


def _made_in(path: Path) -> str:
    return Identity.load_or_create(path).node_id


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_made_in, [tmp_path / "node.key"] * 16, chunksize=1))) == 1


@pytest.mark.parametrize("content", [SEED, SEED.hex().encode(), SEED.hex().encode() + b"\n"])
def test_a_key_file_is_raw_or_hex(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert Identity.load_or_create(path).node_id == PUBLIC


@pytest.mark.parametrize("content", [b"", b"short", SEED + b"x", b"zz" * 32, SEED.hex().encode() * 2])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match="key") as caught:
        Identity.load_or_create(path)
    assert caught.value.code == "bad-key"
    assert path.read_bytes() == content, "a damaged key is never overwritten"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    Identity.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(NotAllowed, match="chmod 600") as caught:
        Identity.load_or_create(path)
    assert caught.value.code == "key-exposed"


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be used") as caught:
        Identity.load_or_create(tmp_path / "file" / "node.key")
    assert caught.value.code == "key-unreadable"


def test_nothing_private_is_shown_or_pickled() -> None:
    identity = Identity(SEED)
    assert SEED.hex() not in repr(identity)
    assert repr(SEED) not in repr(identity)
    with pytest.raises(TypeError):
        pickle.dumps(identity)


def test_a_signature_holds_for_its_key_context_and_payload_only() -> None:
    ours, other = Identity(SEED), Identity.generate()
    signature = ours.sign("flaas/record/1", b"payload")
    verify(ours.node_id, "flaas/record/1", b"payload", signature)
    for node_id, context, payload, made in [
        (other.node_id, "flaas/record/1", b"payload", signature),
        (ours.node_id, "flaas/member/1", b"payload", signature),
        (ours.node_id, "flaas/record/1", b"Payload", signature),
        (ours.node_id, "flaas/record/1", b"payload", signature[:-1]),
        (ours.node_id, "flaas/record/1", b"payload", bytes(64)),
        ("nonsense", "flaas/record/1", b"payload", signature),
    ]:
        with pytest.raises(NotAuthenticated):
            verify(node_id, context, payload, made)


def test_the_context_cannot_run_into_the_payload() -> None:
    with pytest.raises(InvalidInput):
        Identity(SEED).sign("flaas\x00record", b"")


def test_what_is_signed_is_context_zero_payload() -> None:
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(PUBLIC))
    key.verify(Identity(SEED).sign("flaas/record/1", b"payload"), b"flaas/record/1\x00payload")


def test_canonical_json_is_sorted_tight_and_utf8() -> None:
    assert canonical({"b": [1, None, True], "a": "ü"}) == '{"a":"ü","b":[1,null,true]}'.encode()
    for body in ({"x": float("nan")}, {"x": b"bytes"}, {"x": "\ud800"}):
        with pytest.raises(InvalidInput):
            canonical(body)


def test_a_signed_document_opens_for_its_signer_only() -> None:
    ours = Identity(SEED)
    document = sign_document(ours, "flaas/register/1", {"name": "ward-3"})
    assert open_document(document, "flaas/register/1", ours.node_id) == {"name": "ward-3"}
    with pytest.raises(NotAuthenticated):
        open_document(document | {"body": {"name": "ward-4"}}, "flaas/register/1", ours.node_id)
    malformed: list[object] = [None, [], {}, document | {"more": 1}, {"body": [], "signature": ""}]
    for other in [*malformed, document | {"signature": "no hex"}, document | {"signature": 3}]:
        with pytest.raises(InvalidInput):
            open_document(other, "flaas/register/1", ours.node_id)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8470/v1/me?x=1", "http://127.0.0.1:8470"),
        ("https://flaas.example/v1", "https://flaas.example:443"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_an_origin_always_has_its_port(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("url", ["", "flaas.example", "ftp://flaas.example", "http://", "http://x:port"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="URL"):
        origin(url)


def test_a_request_token_is_for_one_request() -> None:
    identity = Identity(SEED)
    public = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    url = "https://flaas.example/v1/nodes?project=p"
    first, second = (jwt.decode(request_token(identity, "get", url), public, ["Ed25519"]) for _ in range(2))
    assert first.header["kid"] == PUBLIC
    assert first.header["alg"] == "Ed25519"
    claims = first.claims
    assert claims["iss"] == claims["sub"] == PUBLIC
    assert (claims["aud"], claims["htm"], claims["htu"]) == ("https://flaas.example:443", "GET", "/v1/nodes")
    assert abs(claims["iat"] - time.time()) < 5
    assert claims["exp"] == claims["iat"] + 60
    assert claims["jti"] != second.claims["jti"]


@pytest.mark.parametrize("point", sorted(_SMALL_ORDER), ids=lambda point: point.hex()[:4] + point.hex()[-2:])
def test_a_key_of_small_order_signs_for_anybody_and_therefore_for_nobody(point: bytes) -> None:
    made_up = (
        (payload, r + bytes(32))
        for payload in (bytes([number]) for number in range(256))
        for low in _SMALL_ORDER
        for r in (low, low[:-1] + bytes([low[-1] | 0x80]))
    )

    def passes(payload: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(point).verify(signature, b"c\x00" + payload)
        except InvalidSignature:
            return False
        return True

    payload, signature = next(each for each in made_up if passes(*each))
    with pytest.raises(NotAuthenticated):
        verify(point.hex(), "c", payload, signature)
