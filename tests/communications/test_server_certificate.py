"""What a server presents: taken up anew while it runs, never half of a pair, never with a key that others can read."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from tls_server import LEGACY, TlsServer, pem_of, write_pair

from flaas_jupyter.communications.server_certificate import ServerCertificate
from flaas_jupyter.errors import InvalidInput, NotAllowed

AUTHORITY = trustme.CA()


def presented(server: TlsServer) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def in_file(chain: Path) -> int:
    return x509.load_pem_x509_certificate(chain.read_bytes()).serial_number


def test_a_renewed_certificate_is_presented_without_a_restart(tmp_path: Path) -> None:
    chain, key = write_pair(AUTHORITY, tmp_path)
    certificate = ServerCertificate(chain, key)
    with TlsServer(certificate.context) as server:
        first = presented(server)
        assert not certificate.reload()
        write_pair(AUTHORITY, tmp_path)
        assert presented(server) == first, "nobody has looked yet"
        assert certificate.reload()
        assert presented(server) == in_file(chain) != first
        assert not certificate.reload()
        assert certificate.reload(force=True)


def test_the_files_are_looked_at_by_themselves(tmp_path: Path) -> None:
    chain, key = write_pair(AUTHORITY, tmp_path)
    certificate = ServerCertificate(chain, key)

    async def until_taken_up(server: TlsServer) -> None:
        following = asyncio.create_task(certificate.follow(every=0.01))
        write_pair(AUTHORITY, tmp_path)
        async with asyncio.timeout(10):
            while await asyncio.to_thread(presented, server) != in_file(chain):
                await asyncio.sleep(0.01)
        following.cancel()

    with TlsServer(certificate.context) as server:
        asyncio.run(until_taken_up(server))


@pytest.mark.parametrize("damage", ["other-key", "half", "gone", "exposed"])
def test_what_is_half_written_leaves_the_one_in_use(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain, key = write_pair(AUTHORITY, tmp_path)
    certificate = ServerCertificate(chain, key)
    with TlsServer(certificate.context) as server:
        first = presented(server)
        before = key.read_bytes()
        write_pair(AUTHORITY, tmp_path)
        good = key.read_bytes()
        if damage == "other-key":
            key.write_bytes(before)
        elif damage == "half":
            key.write_bytes(good[: len(good) // 2])
        elif damage == "gone":
            key.unlink()
        else:
            key.chmod(0o644)
        with caplog.at_level(logging.WARNING):
            assert not certificate.reload(force=True)
        assert "is kept" in caplog.text
        assert "BEGIN" not in caplog.text
        assert presented(server) == first

        key.touch(0o600)
        key.write_bytes(good)
        key.chmod(0o600)
        assert certificate.reload()
        assert presented(server) == in_file(chain)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_key_that_others_can_read_or_change_is_refused(mode: int, tmp_path: Path) -> None:
    chain, key = write_pair(AUTHORITY, tmp_path)
    key.chmod(mode)
    with pytest.raises(NotAllowed) as caught:
        ServerCertificate(chain, key)
    assert caught.value.code == "key-exposed"
    assert f"chmod 600 {key}" in caught.value.hint


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_group_of_its_own_may_read_the_key(mode: int, tmp_path: Path) -> None:
    chain, key = write_pair(AUTHORITY, tmp_path)
    key.chmod(mode)
    assert ServerCertificate(chain, key).context


def test_files_that_are_no_certificate_are_told(tmp_path: Path) -> None:
    chain, key = write_pair(AUTHORITY, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    foreign, _ = write_pair(trustme.CA(), other)
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    for wrong_chain, wrong_key in ((foreign, key), (text, key), (chain, chain), (tmp_path / "missing", key)):
        shutil.copymode(key, wrong_key)
        with pytest.raises(InvalidInput) as caught:
            ServerCertificate(wrong_chain, wrong_key)
        assert caught.value.code == "bad-certificate"
        assert "PEM" in caught.value.hint


def test_a_key_with_a_passphrase_is_told_and_not_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    chain, key = write_pair(AUTHORITY, tmp_path)
    clear = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(clear.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(InvalidInput) as caught:
        ServerCertificate(chain, key)
    assert "without a passphrase" in caught.value.hint


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
@pytest.mark.parametrize(
    ("highest", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, LEGACY),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA"),
    ],
    ids=["tls-1.1", "cbc", "sha-1"],
)
def test_old_clients_are_refused(highest: ssl.TLSVersion, ciphers: str, tmp_path: Path) -> None:
    certificate = ServerCertificate(*write_pair(AUTHORITY, tmp_path))
    old = ssl.create_default_context(cadata=pem_of(AUTHORITY))
    old.set_ciphers(ciphers)
    old.minimum_version = min(highest, ssl.TLSVersion.TLSv1_2)
    old.maximum_version = highest
    with (
        TlsServer(certificate.context) as server,
        socket.create_connection(("127.0.0.1", server.port), 5) as plain,
        pytest.raises(OSError),
    ):
        old.wrap_socket(plain, server_hostname="127.0.0.1")
    assert server.requests == []


def test_a_link_that_is_moved_is_a_change(tmp_path: Path) -> None:
    """Kubernetes changes a mounted secret by moving a link to a folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_pair(AUTHORITY, tmp_path / name)
    link = tmp_path / "data"
    link.symlink_to("one")
    certificate = ServerCertificate(link / "server.pem", link / "server.key")
    fresh = tmp_path / "fresh"
    fresh.symlink_to("two")
    fresh.replace(link)
    assert certificate.reload()
