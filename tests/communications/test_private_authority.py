"""A certificate authority of one's own: what it signs stands up to OpenSSL's strict look, and renews itself in time."""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from flaas_jupyter.communications.private_authority import RENEW_BEFORE, SERVER_LIFE, PrivateAuthority
from flaas_jupyter.communications.server_certificate import ServerCertificate
from flaas_jupyter.errors import InvalidInput, NotAllowed

MINUTE = timedelta(minutes=1)


def signed(authority: PrivateAuthority) -> x509.Certificate:
    return x509.load_pem_x509_certificates(authority.chain.read_bytes())[0]


def test_openssl_accepts_what_it_signs_for_each_of_its_names(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path, ["0.0.0.0", "flaas.example", "192.0.2.7", "[2001:db8::1]"])
    authority.renew()
    names = [("-verify_hostname", "localhost"), ("-verify_hostname", "flaas.example"), ("-verify_ip", "192.0.2.7"),
             ("-verify_ip", "2001:db8::1"), ("-verify_ip", "127.0.0.1")]  # fmt: skip
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(authority.certificate)]
    for name in names:
        done = subprocess.run([*verify, *name, str(authority.chain)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    wrong = subprocess.run([*verify, "-verify_hostname", "other.example", str(authority.chain)], check=False,
                           capture_output=True)  # fmt: skip
    assert wrong.returncode != 0


def test_its_keys_are_its_owners_alone_and_it_can_be_no_authority_of_authorities(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "tls", [])
    authority.renew()
    for path in (tmp_path / "tls" / "ca.key", authority.key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (own,) = authority.trust.certificates
    limits = own.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 0)
    assert not signed(authority).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert signed(authority).not_valid_after_utc - datetime.now(UTC) <= SERVER_LIFE


def test_it_renews_before_the_end_and_not_before_that(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path, [])
    now = datetime.now(UTC)
    authority.renew(now)
    certificate = ServerCertificate(authority.chain, authority.key)
    first, end = signed(authority), signed(authority).not_valid_after_utc
    authority.renew(end - RENEW_BEFORE - MINUTE)
    assert signed(authority) == first
    authority.renew(end - RENEW_BEFORE + MINUTE)
    assert signed(authority) != first
    assert signed(authority).public_key() != first.public_key(), "with a key of its own"
    assert certificate.reload()


def test_other_names_are_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    one = PrivateAuthority(tmp_path, [])
    one.renew()
    first = signed(one)
    again = PrivateAuthority(tmp_path, [])
    again.renew()
    assert signed(again) == first
    other = PrivateAuthority(tmp_path, ["flaas.example"])
    other.renew()
    assert signed(other) != first
    assert other.trust == one.trust, "nobody has to pin anew"


def test_a_key_of_another_certificate_is_replaced(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "one", [])
    authority.renew()
    other = PrivateAuthority(tmp_path / "two", [])
    other.renew()
    assert other.trust != authority.trust
    authority.key.write_bytes(other.key.read_bytes())  # as after a crash between two writes
    authority.renew()
    assert ServerCertificate(authority.chain, authority.key).context


def test_damage_is_told(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path, [])
    authority.certificate.write_text("nothing")
    with pytest.raises(InvalidInput) as caught:
        PrivateAuthority(tmp_path, [])
    assert caught.value.code == "bad-ca"


def test_an_exposed_authority_is_told(tmp_path: Path) -> None:
    PrivateAuthority(tmp_path, [])
    (tmp_path / "ca.key").chmod(0o640)
    with pytest.raises(NotAllowed) as caught:
        PrivateAuthority(tmp_path, [])
    assert caught.value.code == "key-exposed"


@pytest.mark.parametrize("name", ["", "https://flaas.example", "a b", "flaas.example:8470", "ä.example"])
def test_what_is_no_name_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        PrivateAuthority(tmp_path, [name])
    assert caught.value.code == "bad-name"
