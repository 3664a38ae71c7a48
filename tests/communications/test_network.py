"""The network document: believed if the domain key signed it and it is the newest that was seen."""

from __future__ import annotations

import copy
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from mesh_domain import DOMAIN, Domain

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.domain_key import sign_domain_document
from flaas_jupyter.communications.identity import MEMBER, Identity
from flaas_jupyter.communications.network import NETWORK, Network, ReflectorSite, RelaySite, sign_network
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAuthenticated

KEY = Identity(b"k" * 32)
REFLECTOR = Identity(b"r" * 32).node_id


def certificate() -> str:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay ca")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return made.sign(key, None).public_bytes(Encoding.PEM).decode()


def network(serial: int = 1, **changes: Any) -> Network:
    given = {
        "domain": DOMAIN,
        "relays": (RelaySite("Frankfurt", "https://relay.example:8443", certificate()),),
        "reflectors": (ReflectorSite(REFLECTOR, ("192.0.2.7:3478", "[2001:db8::7]:3478")),),
        "direct": "prefer",
        **changes,
    }
    return Network(serial=serial, **given)


def test_what_is_signed_is_what_is_read() -> None:
    made = network()
    assert Network.parse(sign_network(KEY, made), KEY.node_id) == made


def test_another_key_or_another_purpose_is_not_believed() -> None:
    document = sign_network(KEY, network())
    with pytest.raises(NotAuthenticated):
        Network.parse(document, Identity(b"x" * 32).node_id)
    with pytest.raises(NotAuthenticated):
        Network.parse(sign_domain_document(KEY, MEMBER, document["body"]), KEY.node_id)


def test_whatever_is_changed_is_noticed() -> None:
    for field, value in (("serial", 2), ("direct", "never"), ("relays", []), ("reflectors", []), ("domain", "x")):
        document = copy.deepcopy(sign_network(KEY, network()))
        document["body"][field] = value
        with pytest.raises(NotAuthenticated):
            Network.parse(document, KEY.node_id)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"direct": "sometimes"}, "bad-network"),
        ({"relays": (RelaySite("a", "http://relay.example"),)}, "bad-relay-url"),
        ({"relays": (RelaySite("a", "https://relay.example/path"),)}, "bad-relay-url"),
        ({"relays": (RelaySite("a", "https://user:word@relay.example"),)}, "bad-relay-url"),
        ({"relays": (RelaySite("", "https://relay.example"),)}, "bad-network"),
        ({"relays": (RelaySite("a\x1b[31m", "https://relay.example"),)}, "bad-network"),
        ({"relays": (RelaySite("a", "https://relay.example", "no certificate"),)}, "bad-network"),
        ({"relays": (RelaySite("a", "https://one.example"), RelaySite("a", "https://two.example"))}, "bad-network"),
        ({"relays": (RelaySite("a", "https://one.example"), RelaySite("b", "https://one.example"))}, "bad-network"),
        ({"relays": tuple(RelaySite(f"r{n}", f"https://r{n}.example") for n in range(9))}, "bad-network"),
        ({"relays": (), "direct": "never"}, "bad-network"),
        ({"reflectors": (ReflectorSite("nobody", ("192.0.2.7:1",)),)}, "bad-node-id"),
        ({"reflectors": (ReflectorSite(REFLECTOR, ("reflector.example:1",)),)}, "bad-network"),
        ({"reflectors": (ReflectorSite(REFLECTOR, ()),)}, "bad-network"),
        ({"serial": -1}, "bad-network"),
        ({"domain": ""}, "bad-network"),
    ],
)
def test_nobody_signs_what_readers_refuse(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        sign_network(KEY, network(**changes))
    assert caught.value.code == code


def test_plain_http_is_for_this_machine() -> None:
    for url in ("http://127.0.0.1:8080", "http://[::1]:8080"):
        made = network(relays=(RelaySite("here", url),))
        assert Network.parse(sign_network(KEY, made), KEY.node_id).relays[0].url == url


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(["v", "domain", "relays", "reflectors", "direct", "serial"]), value=_json)
def test_whatever_a_key_has_signed_is_read_or_refused(field: str, value: object) -> None:
    body = {**sign_network(KEY, Network(DOMAIN))["body"], field: value}
    document = sign_domain_document(KEY, NETWORK, body)
    try:
        read = Network.parse(document, KEY.node_id)
    except FlaasError:  # and nothing else
        return
    assert sign_network(KEY, read)["body"] == body


@given(document=_json)
def test_garbage_is_refused(document: object) -> None:
    with pytest.raises(FlaasError):
        Network.parse(document, KEY.node_id)


# ---- in the directory -----------------------------------------------------------------------------------------------


def listed(domain: Domain, document: object) -> dict[str, Any]:
    return {**domain.listing(), "network": document}


def test_the_newest_counts_and_an_older_one_is_passed_over(domain: Domain, caplog: pytest.LogCaptureFixture) -> None:
    directory = Directory(DOMAIN, domain.key.node_id)
    directory.update(domain.listing())
    assert directory.network is None
    first, second = (sign_network(domain.key, network(serial)) for serial in (1, 2))
    directory.update(listed(domain, first))
    directory.update(listed(domain, second))
    with caplog.at_level(logging.WARNING):
        directory.update(listed(domain, first))
    assert directory.network is not None
    assert directory.network.serial == 2
    assert "an older network document was passed over" in caplog.text


def test_a_listing_without_one_keeps_what_was_known(domain: Domain) -> None:
    directory = Directory(DOMAIN, domain.key.node_id)
    directory.update(listed(domain, sign_network(domain.key, network(3))))
    for listing in (domain.listing(), listed(domain, None), listed(domain, "none"), listed(domain, {"body": {}})):
        directory.update(listing)
        assert directory.network is not None
        assert directory.network.serial == 3


def test_one_of_another_domain_or_key_is_dropped(domain: Domain) -> None:
    directory = Directory(DOMAIN, domain.key.node_id)
    directory.update(listed(domain, sign_network(domain.key, network(1, domain="other"))))
    directory.update(listed(domain, sign_network(Identity.generate(), network(2))))
    assert directory.network is None
