"""Files on web servers: what is fetched, what is not, and to whom credentials go."""

import gc
import socket

import httpcore
import pytest
from tables import encoded, frame, people, same

from flaas_jupyter.errors import FlaasError, Unreachable
from flaas_jupyter.execution.sources import https as module
from flaas_jupyter.execution.sources.hosts import CheckedNetwork, allowed_addresses
from flaas_jupyter.execution.sources.secrets import SecretStore

CSV = b"a,b\n1,2\n"


def refused(code, call, *args, **options) -> FlaasError:
    with pytest.raises(FlaasError) as error:
        call(*args, **options)
    assert error.value.code == code, error.value
    return error.value


# ---- which hosts ----------------------------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1", "10.0.0.7", "172.16.3.4", "192.168.1.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "198.18.0.1",
    "::1", "::", "fc00::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1",
    "2002:7f00:1::", "2002:c0a8:101::1", "fec0::1", "224.0.0.1", "ff02::1", "240.0.0.1",
)  # fmt: skip
METADATA = (
    "169.254.169.254", "169.254.170.2", "169.254.0.9", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fe80::1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd20:ce::254", "fe80::1%eth0",
)  # fmt: skip
PUBLIC = ("93.184.215.14", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808")


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused(address):
    told = refused("policy-data-hosts", allowed_addresses, "files.example", 443, (), lambda *_: [address])
    assert "files.example" in told.message
    refused("policy-data-hosts", allowed_addresses, "files.example", 443, (), lambda *_: [PUBLIC[0], address])


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "fc00::1", "64:ff9b::10.0.0.1"])
def test_hosts_that_the_owner_lists_may_have_such_addresses(address):
    for name in ("files.example", "FILES.example."):
        assert allowed_addresses(name, 443, ("Files.Example",), lambda *_: [address]) == [address]
    refused("policy-data-hosts", allowed_addresses, "a.files.example", 443, ("files.example",), lambda *_: [address])


@pytest.mark.parametrize("address", METADATA)
def test_addresses_where_clouds_keep_credentials_are_never_read(address):
    for listed in ((), ("files.example",), (address,)):
        refused("policy-data-hosts", allowed_addresses, "files.example", 80, listed, lambda *_: [address])


@pytest.mark.parametrize("name", ["metadata.google.internal", "Metadata.Google.Internal.", "instance-data"])
def test_names_of_metadata_servers_are_never_read(name):
    refused("policy-data-hosts", allowed_addresses, name, 443, (name,), lambda *_: [PUBLIC[0]])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address):
    assert allowed_addresses("files.example", 443, (), lambda *_: [address]) == [address]


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data/t.csv",
        "https://[fd00:ec2::254]/t.csv",
        "https://[::ffff:a9fe:a9fe]/t.csv",
        "https://2852039166/t.csv",  # 169.254.169.254 as one number
        "https://0xA9.0xFE.0xA9.0xFE/t.csv",
        "https://127.0.0.1:8888/t.csv",
        "https://127.1/t.csv",
        "https://localhost/t.csv",
        "https://0/t.csv",
        "https://[::1]/t.csv",
    ],
)
def test_addresses_of_this_machine_and_its_cloud_are_refused(opened, url):
    source = opened(url)
    for use in (source.stamp, source.schema, lambda: list(source.batches())):
        refused("policy-data-hosts", use)


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    """A name that means another address a moment later does not lead there (DNS rebinding)."""
    answers = iter([["203.0.113.1"], ["127.0.0.1"]])  # the first is of a documentation network: not global
    tried = []

    def connect(host, *args):
        tried.append(host)
        raise httpcore.ConnectError

    network = CheckedNetwork(("files.example",), lambda *_: next(answers))
    monkeypatch.setattr(network._sockets, "connect_tcp", connect)
    with pytest.raises(httpcore.ConnectError):
        network.connect_tcp("files.example", 443)
    assert tried == ["203.0.113.1"]
    strict = CheckedNetwork((), lambda *_: ["127.0.0.1"])
    refused("policy-data-hosts", strict.connect_tcp, "files.example", 443)


# ---- fetching -------------------------------------------------------------------------------------------------------


def test_a_host_that_is_not_listed_is_not_asked(https, opened, home):
    url = https.put("t.csv", CSV)
    (home / "node.toml").write_text("[policy]\n")
    told = refused("policy-data-hosts", opened(url).schema)
    assert 'add "localhost" to data_hosts' in told.hint
    assert https.requests == []


def test_a_certificate_of_an_unknown_authority_is_not_believed(https, opened, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    told = refused("source-unreachable", opened(https.put("t.csv", CSV)).schema)
    assert "certificate" in told.message
    assert https.requests == []


def test_a_certificate_for_another_name_is_not_believed(https, opened, home):
    (home / "node.toml").write_text('[policy]\ndata_hosts = ["127.0.0.2", "localhost"]\n')
    https.put("t.csv", CSV)
    refused("source-unreachable", opened(https.url("t.csv", host="127.0.0.2")).schema)


def test_redirects_are_followed_to_allowed_hosts_alone(https, opened, home):
    https.put("t.csv", CSV)
    https.redirects["/moved.csv"] = https.url("t.csv")
    https.redirects["/relative.csv"] = "/t.csv"
    for path in ("moved.csv", "relative.csv"):
        assert len(frame(opened(https.url(path)))) == 1
    for target in (
        "https://169.254.169.254/latest/meta-data/",
        f"https://127.0.0.1:{https.port}/t.csv",
        "http://localhost/t.csv",
        "file:///etc/passwd",
        f"https://user:password@localhost:{https.port}/t.csv",
    ):
        https.redirects["/away.csv"] = target
        told = refused("policy-data-hosts", opened(https.url("away.csv")).schema)
        assert "password" not in str(told)
    https.redirects["/loop.csv"] = "/loop.csv"
    assert "redirects" in refused("unreadable-data", opened(https.url("loop.csv")).schema).message


def test_a_secret_goes_to_its_host_and_to_no_other(https, opened, home, monkeypatch):
    store = SecretStore(home)
    https.put("t.csv", CSV)
    for value, header, sent in (
        ("token-1", "authorization", "Bearer token-1"),
        ('{"username": "olga", "password": "pa55"}', "authorization", "Basic b2xnYTpwYTU1"),
        ('{"header": "X-Api-Key", "value": "key-1"}', "x-api-key", "key-1"),
    ):
        store.set("files", value)
        https.requests.clear()
        https.required = {header: sent}
        source = opened(https.url("t.csv"), secret="files")
        assert len(frame(source)) == 1
        assert all(headers[header] == sent for _, _, headers in https.requests)
        assert sent not in repr(source)
        assert value not in repr(source)
        told = refused("source-access-denied", opened(https.url("t.csv")).schema)
        assert "flaas secret set" in told.hint
    https.required = {}
    store.set("files", '{"query": "sig=abc%3D&sv=1"}')
    https.requests.clear()
    source = opened(https.url("t.csv"), secret="files")
    frame(source)
    assert {path for _, path, _ in https.requests} == {"/t.csv?sig=abc%3D&sv=1"}
    assert source.url == https.url("t.csv")
    store.set("files", "token-1")
    https.redirects["/elsewhere.csv"] = https.url("t.csv", host="127.0.0.1")
    (home / "node.toml").write_text('[policy]\ndata_hosts = ["localhost", "127.0.0.1"]\n')
    https.requests.clear()
    frame(opened(https.url("elsewhere.csv"), secret="files"))
    assert ["authorization" in headers for _, _, headers in https.requests] == [True, False]
    store.set("files", "two\nlines")
    refused("bad-secret", opened(https.url("t.csv"), secret="files").schema)


def test_the_copy_is_private_fetched_once_and_goes_with_the_source(https, opened, home):
    source = opened(https.put("people.parquet", encoded(people())[".parquet"]))
    same(frame(source), people())
    same(frame(source), people())
    assert [command for command, _, _ in https.requests] == ["GET"]
    (copy,) = (home / "fetched").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (home / "fetched").stat().st_mode & 0o777 == 0o700
    del source
    gc.collect()
    assert list((home / "fetched").iterdir()) == []


def test_copies_of_processes_that_have_died_are_removed(https, opened, home, monkeypatch):
    (home / "fetched").mkdir()
    (home / "fetched/left.csv").write_bytes(CSV)
    monkeypatch.setattr(module, "_YOUNG", -1.0)
    held = opened(https.put("t.csv", CSV))
    frame(held)
    frame(opened(https.put("u.csv", CSV)))
    assert not (home / "fetched/left.csv").exists()
    assert len(list((home / "fetched").iterdir())) == 1  # the one that is in use stays


def test_a_transfer_that_ends_early_is_not_taken_for_the_file(https, opened):
    url = https.put("t.csv", CSV * 1000)
    https.cut.add("/t.csv")
    refused("source-unreachable", opened(url).schema)


def test_a_file_that_is_too_large_is_not_fetched_to_its_end(https, opened, monkeypatch):
    monkeypatch.setattr(module, "MAXIMUM_BYTES", 1000)
    told = refused("source-too-large", opened(https.put("t.csv", CSV * 1000)).schema)
    assert "register the copy" in told.hint


def test_a_server_that_tells_no_state_is_asked_for_the_content(https, opened):
    url = https.put("t.csv", CSV)
    https.mute = True
    source = opened(url)
    before = source.stamp()
    assert source.stamp() == before
    https.put("t.csv", CSV + b"3,4\n")
    assert source.stamp() != before
    assert len(frame(source)) == 2


def test_statuses_and_hosts_that_are_not_there(https, opened):
    assert "404" in refused("unreadable-data", opened(https.url("gone.csv")).schema).message
    told = refused("source-unreachable", opened("https://nowhere.invalid/t.csv").schema)
    assert isinstance(told, Unreachable)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused("source-unreachable", opened(f"https://localhost:{free.getsockname()[1]}/t.csv").schema)


def test_addresses_that_are_none(opened):
    for url in ("https:///t.csv", "https://a b/t.csv", "https://a:port/t.csv", "https://a/t.csv\r\nHost: b"):
        refused("bad-source", opened, url)
