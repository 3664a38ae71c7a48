"""Who may vouch for a server: real handshakes on loopback with authorities that the test makes."""

from __future__ import annotations

import datetime
import re
import ssl
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from tls_server import LEGACY, TlsServer, pem_of, server_context

from flaas_jupyter.communications.trust import (
    Trust,
    fetched,
    fingerprint,
    parse_fingerprint,
    require_private,
    same_fingerprint,
    unreachable,
)
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAuthenticated
from flaas_jupyter.home import Home

AUTHORITY, OTHER = trustme.CA(), trustme.CA()
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
ZERO = f"sha256:{'0' * 64}"


def ask(url: str, trust: Trust) -> FlaasError | None:
    """Make a request; return the error that a person would be shown."""
    try:
        with httpx.Client(verify=trust.context(), trust_env=False, timeout=10) as http:
            http.get(url)
    except httpx.HTTPError as error:
        return unreachable(url, error)
    return None


@pytest.fixture
def pinned() -> Trust:
    return Trust(pem_of(AUTHORITY))


def test_only_what_is_pinned_is_trusted(pinned: Trust) -> None:
    with TlsServer(server_context(AUTHORITY)) as right, TlsServer(server_context(OTHER)) as wrong:
        assert ask(right.url, pinned) is None
        for url, trust in ((wrong.url, pinned), (right.url, Trust())):
            error = ask(url, trust)
            assert error is not None
            assert error.code == "tls-untrusted"
            assert "--ca-fingerprint" in error.hint
        assert wrong.requests == []
        assert len(right.requests) == 1


def test_the_servers_own_certificate_can_be_pinned() -> None:
    with TlsServer(server_context(AUTHORITY)) as server:
        leaf = ssl.get_server_certificate(("127.0.0.1", server.port))
        assert ask(server.url, Trust(leaf)) is None


def test_tls_1_3_is_preferred_and_renegotiated_down_to_1_2_at_the_least(pinned: Trust) -> None:
    context = server_context(AUTHORITY)
    with TlsServer(context) as server:
        for highest, wanted in ((ssl.TLSVersion.TLSv1_3, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
            context.maximum_version = highest
            with httpx.Client(verify=pinned.context(), trust_env=False) as http, http.stream("GET", server.url) as got:
                assert got.extensions["network_stream"].get_extra_info("ssl_object").version() == wanted


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, LEGACY),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256"),
    ],
    ids=["tls-1.1", "cbc", "no-forward-secrecy-or-finite-field"],
)
def test_old_protocols_and_ciphers_are_refused(version: ssl.TLSVersion, ciphers: str, pinned: Trust) -> None:
    context = server_context(trustme.CA(key_type=trustme.KeyType.RSA), key_type=trustme.KeyType.RSA)
    context.set_ciphers(ciphers)
    context.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = version
    with TlsServer(context) as server:
        error = ask(server.url, pinned)
    assert error is not None
    assert error.code == "tls-too-old"
    assert server.requests == []


@pytest.mark.parametrize(
    ("names", "options", "code", "word"),
    [
        (("flaas.example",), {}, "tls-wrong-name", "--tls-name"),
        ((), {"not_before": NOW - 9 * DAY, "not_after": NOW - DAY}, "tls-expired", "clock"),
        ((), {"not_before": NOW + DAY, "not_after": NOW + 9 * DAY}, "tls-not-yet-valid", "clock"),
    ],
    ids=["name", "expired", "early"],
)
def test_what_is_wrong_with_a_certificate_is_named(
    names: tuple[str, ...], options: dict[str, object], code: str, word: str, pinned: Trust
) -> None:
    with TlsServer(server_context(AUTHORITY, *names, **options)) as server:
        error = ask(server.url, pinned)
    assert error is not None
    assert error.code == code
    assert word in error.hint
    assert not re.search(r"ssl\.c|SSLError|CERTIFICATE_VERIFY", str(error))


def test_tls_spoken_to_plain_http_is_named(pinned: Trust) -> None:
    with TlsServer(None) as server:
        error = ask(server.url, pinned)
    assert error is not None
    assert (error.code, error.message) == (
        "tls-plain-server",
        f"127.0.0.1:{server.port} answers, but not in TLS: it serves plain HTTP.",
    )


def test_a_connection_that_ends_in_the_handshake_is_told_in_words(pinned: Trust) -> None:
    context = server_context(AUTHORITY)

    def hang_up(connection: ssl.SSLSocket, *_: object) -> None:
        connection.close()

    context.sni_callback = hang_up
    with TlsServer(context) as server:
        error = ask(server.url, pinned)
    assert error is not None
    assert error.code == "api-unreachable"
    assert not re.search(r"ssl\.c|SSL:|EOF", str(error))


@pytest.mark.parametrize("alert", ["", "15 03 03 00 02 02 46"], ids=["silence", "alert"])
def test_plain_http_spoken_to_tls_says_to_use_https(alert: str, pinned: Trust) -> None:
    """Servers end such a connection without a word, or with a TLS record of type 21 (RFC 8446, section 5.1)."""
    with TlsServer(None if alert else server_context(AUTHORITY)) as server:
        server.answer = bytes.fromhex(alert)
        error = ask(server.url.replace("https", "http"), pinned)
    assert error is not None
    assert f"use {server.url}" in error.hint


# ---- fingerprints ---------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_that_of_openssl(tmp_path: Path, pinned: Trust) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(pinned.pem)
    command = ["openssl", "x509", "-in", str(file), "-noout", "-fingerprint", "-sha256"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("=")[2]
    assert (parse_fingerprint(f"SHA256:{printed}"),) == pinned.fingerprints


@given(st.binary(min_size=32, max_size=32))
def test_fingerprints_are_read_as_people_write_them(digest: bytes) -> None:
    plain = f"sha256:{digest.hex()}"
    assert parse_fingerprint(plain) == parse_fingerprint(f"  SHA256:{digest.hex(':').upper()}\n") == plain
    assert same_fingerprint(plain, parse_fingerprint(plain))


@pytest.mark.parametrize("text", ["", "sha256:", "ab" * 32, f"sha1:{'ab' * 20}", f"sha256:{'xy' * 32}", f"{ZERO}0"])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_fingerprint(text)
    assert caught.value.code == "bad-fingerprint"


def test_an_authority_is_fetched_by_its_fingerprint(pinned: Trust) -> None:
    with TlsServer(server_context(AUTHORITY)) as server:
        assert fetched(server.url, pinned.fingerprints[0]) == pinned
    assert [request.partition(" ")[0] for request in server.requests] == ["HEAD", "HEAD"]
    assert not re.search("authorization|cookie", "".join(server.requests), re.IGNORECASE)


def test_another_authority_than_was_told_is_not_believed(pinned: Trust) -> None:
    with TlsServer(server_context(OTHER)) as server, pytest.raises(NotAuthenticated) as caught:
        fetched(server.url, pinned.fingerprints[0])
    assert caught.value.code == "wrong-fingerprint"
    assert fingerprint(x509.load_pem_x509_certificate(OTHER.cert_pem.bytes())) in caught.value.message
    assert "Do not go on" in caught.value.hint


def test_the_right_authority_does_not_excuse_the_wrong_name(pinned: Trust) -> None:
    with TlsServer(server_context(AUTHORITY, "flaas.example")) as server, pytest.raises(FlaasError) as caught:
        fetched(server.url, pinned.fingerprints[0])
    assert caught.value.code == "tls-wrong-name"


def test_a_forged_chain_that_shows_the_right_authority_is_refused(pinned: Trust) -> None:
    """Anybody can send a certificate along; only its key can have signed what the server presents as its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf = OTHER.issue_cert("127.0.0.1")
    forged = leaf.private_key_and_cert_chain_pem.bytes() + AUTHORITY.cert_pem.bytes()
    with trustme.Blob(forged).tempfile() as path:
        context.load_cert_chain(path)
    with TlsServer(context) as server, pytest.raises(FlaasError) as caught:
        fetched(server.url, pinned.fingerprints[0])
    assert caught.value.code == "tls-untrusted"


def test_without_tls_there_is_no_fingerprint() -> None:
    with pytest.raises(InvalidInput) as caught:
        fetched("http://127.0.0.1:8470", ZERO)
    assert caught.value.code == "bad-url"


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_a_pin_is_kept_for_its_address_alone(tmp_path: Path, pinned: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAAS_CA_FILE", raising=False)
    home = Home(tmp_path)
    pinned.keep(home, "https://flaas.example/")
    assert Trust.of(home, "https://flaas.example:443/v1/me") == pinned
    for other in ("https://flaas.example:8443", "https://example", "https://[::1]:443"):
        assert Trust.of(home, other) == Trust()
    (file,) = home.authorities.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    named = tmp_path / "named.pem"
    named.write_text(pem_of(OTHER))
    monkeypatch.setenv("FLAAS_CA_FILE", str(named))
    assert Trust.of(home, "https://flaas.example") == Trust(pem_of(OTHER)) == Trust.from_environment()


@pytest.mark.parametrize("content", [b"", b"no certificate", AUTHORITY.private_key_pem.bytes(), b"\xff\xfe" * 9])
def test_a_damaged_pin_is_never_taken_for_none(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAAS_CA_FILE", raising=False)
    home, url = Home(tmp_path), "https://flaas.example"
    Trust(pem_of(AUTHORITY)).keep(home, url)
    (file,) = home.authorities.iterdir()
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        Trust.of(home, url)
    assert caught.value.code == "bad-ca"


def test_what_is_trusted_shows_as_fingerprints(pinned: Trust) -> None:
    assert repr(pinned) == f"Trust({pinned.fingerprints[0]})"
    assert repr(Trust()) == "Trust(system)"


@pytest.mark.parametrize(
    "url", ["https://flaas.example", "http://127.0.0.1:8470", "http://[::1]:1", "http://localhost"]
)
def test_https_and_loopback_are_private(url: str) -> None:
    require_private(url)


@pytest.mark.parametrize("url", ["http://flaas.example", "http://10.0.0.1:8470", "http://localhost.evil.example"])
def test_plain_http_does_not_leave_this_machine_unasked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAAS_ALLOW_PLAIN_HTTP", raising=False)
    with pytest.raises(InvalidInput) as caught:
        require_private(url)
    assert caught.value.code == "plain-http"
    monkeypatch.setenv("FLAAS_ALLOW_PLAIN_HTTP", "1")
    require_private(url)
