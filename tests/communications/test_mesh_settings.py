"""``mesh.toml``: its defaults, each of its fields, and a message for everything that is none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trustme

from flaas_jupyter.communications.iroh_endpoint import LOOPBACK
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.network import Network, RelaySite
from flaas_jupyter.communications.shim import Proxy
from flaas_jupyter.errors import InvalidInput

HERE, AWAY = "http://127.0.0.1:8470", "https://api.example"
RELAY = "https://relay.example:8443"
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "FLAAS_PROXY_USER", "FLAAS_PROXY_PASSWORD")


@pytest.fixture(autouse=True)
def no_proxy_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mesh.toml"


def test_without_a_file_the_network_is_listened_to_only_if_the_api_is_elsewhere(file: Path) -> None:
    assert set(MeshSettings.load(file, api=HERE).listen) <= set(LOOPBACK)
    assert set(MeshSettings.load(file, api="https://localhost").listen) <= set(LOOPBACK)
    listen = MeshSettings.load(file, api=AWAY).listen
    assert "0.0.0.0:0" in listen
    assert set(listen) <= {"0.0.0.0:0", "[::]:0"}


def test_the_file_says_where_to_listen_and_the_command_line_says_it_louder(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text('listen = ["0.0.0.0:41641", "[::]:41641"]\ndirect = "only"\n')
    settings = MeshSettings.load(file, api=HERE)
    assert (settings.listen, settings.direct) == (("0.0.0.0:41641", "[::]:41641"), "only")
    with caplog.at_level(logging.INFO):
        assert MeshSettings.load(file, api=HERE, listen=["10.0.0.7:1"]).listen == ("10.0.0.7:1",)
    assert "--listen counts (10.0.0.7:1)" in caplog.text
    assert settings.with_any_port().listen == ("0.0.0.0:0", "[::]:0")


def test_with_an_api_on_this_machine_peers_speak_tls_on_loopback_unless_told_otherwise(file: Path) -> None:
    settings = MeshSettings.load(file, api=HERE)
    assert (settings.carriers, settings.listen_tls) == (("tls",), ("127.0.0.1:0",))
    beside = MeshSettings.load(file, api=HERE, listen=["127.0.0.1:0"])  # a node; its kernels are not told
    assert (beside.carriers, beside.listen_tls) == (("iroh", "tls"), ("127.0.0.1:0",))
    for content, carriers, listen_tls in (
        ('listen = ["127.0.0.1:0"]', ("iroh", "tls"), ("127.0.0.1:0",)),
        ('carriers = ["iroh"]', ("iroh",), ()),
        ('carriers = ["iroh", "tls"]', ("iroh", "tls"), ("127.0.0.1:0",)),
        ("listen_tls = []", ("tls",), ()),
        ('listen_tls = ["127.0.0.1:7"]', ("tls",), ("127.0.0.1:7",)),
    ):
        file.write_text(content)
        settings = MeshSettings.load(file, api=HERE)
        assert (settings.carriers, settings.listen_tls) == (carriers, listen_tls), content


def test_where_to_listen_over_tls_is_the_nodes_alone(file: Path) -> None:
    settings = MeshSettings.load(file, api=AWAY)
    assert (settings.carriers, settings.listen_tls) == (("iroh", "tls"), ())
    file.write_text('carriers = ["tls"]\nlisten_tls = ["0.0.0.0:8443", "[::]:0"]\nannounce_tls = ["203.0.113.7:443"]\n')
    settings = MeshSettings.load(file, api=AWAY)
    assert (settings.carriers, settings.announce_tls) == (("tls",), ("203.0.113.7:443",))
    assert settings.listen_tls == ("0.0.0.0:8443", "[::]:0")
    beside = settings.with_any_port()
    assert (beside.carriers, beside.listen_tls, beside.announce_tls) == (("tls",), (), ())


@pytest.mark.parametrize(
    ("own", "domains", "rule"),
    [
        ("prefer", (), "prefer"),
        ("prefer", ("prefer", "only"), "only"),
        ("only", ("prefer",), "only"),
        ("never", ("prefer",), "never"),
        ("prefer", ("only", "never"), "never"),
        ("only", ("never",), "never"),
    ],
)
def test_the_strictest_rule_for_direct_connections_counts(own: str, domains: tuple[str, ...], rule: str) -> None:
    networks = [Network("a", direct=direct) for direct in domains]  # type: ignore[arg-type]
    assert MeshSettings(direct=own).direct_with(networks) == rule  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("listen = ", "cannot be read"),
        ("listn = []", "'listn'"),
        ('listen = "0.0.0.0:1"', "not a list"),
        ('listen = ["node.example:1"]', "node.example:1"),
        ('listen = ["0.0.0.0"]', "not ip:port"),
        ('listen = ["0.0.0.0:65536"]', "65536"),
        ('listen = ["::1:0"]', "not ip:port"),
        ('listen = ["0.0.0.0:1", "127.0.0.1:2"]', "two addresses of one family"),
        ("carriers = []", "iroh and tls"),
        ('carriers = ["quic"]', "iroh and tls"),
        ("carriers = [[]]", "iroh and tls"),
        ('carriers = ["iroh"]\nlisten_tls = ["0.0.0.0:443"]', 'leaves out "tls"'),
        ('listen_tls = "0.0.0.0:443"', "listen_tls is"),
        ('listen_tls = ["443"]', "not ip:port"),
        ('listen_tls = ["0.0.0.0:1", "127.0.0.1:2"]', "two addresses of one family"),
        ('announce_tls = ["203.0.113.7:443"]', "without listen_tls"),
        ('listen_tls = ["0.0.0.0:443"]\nannounce_tls = ["clinic.example:443"]', "clinic.example"),
        ('direct = "sometimes"', "prefer, only, never"),
        ("proxy = 3", "[proxy]"),
        ("[proxy]\nmode = 1", "[proxy]"),
        ('[proxy]\nuser = "me"', "[proxy]"),
        ('[proxy]\nmode = "always"', "'always'"),
        ('[proxy]\nmode = "https://proxy:1"', "http://host:port"),
        ('[proxy]\nsecret = "proxy"', "cannot be opened here"),
        ("relay_trust = 3", "[relay_trust]"),
        (f'[relay_trust]\n"{RELAY}" = 3', "PEM file, or system"),
    ],
)
def test_what_is_wrong_is_told(file: Path, content: str, told: str) -> None:
    file.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        MeshSettings.load(file, api=HERE)
    assert caught.value.code == "bad-mesh-settings"
    assert told in caught.value.message


def test_a_password_in_the_file_is_refused_and_not_repeated(file: Path) -> None:
    file.write_text('[proxy]\nmode = "http://me:hush@proxy.example:3128"')
    with pytest.raises(InvalidInput) as caught:
        MeshSettings.load(file, api=HERE)
    assert "FLAAS_PROXY_PASSWORD" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_the_environments_proxy_is_used_but_for_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    settings = MeshSettings.load(file, api=AWAY)
    assert settings.proxy_to(RELAY) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hu%40sh@proxy.example:3128")
    proxy = settings.proxy_to(RELAY)
    assert proxy == Proxy("proxy.example", 3128, "me", "hu@sh")
    assert "hu@sh" not in repr(proxy)
    assert settings.proxy_to("http://127.0.0.1:3340") is None
    monkeypatch.setenv("NO_PROXY", "other.example, .relay.example,relay.example")
    assert settings.proxy_to(RELAY) is None
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example")
    assert settings.proxy_to(RELAY) == Proxy("proxy.example", 80)
    assert MeshSettings(proxy="none").proxy_to(RELAY) is None
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:hush@proxy.example")
    with pytest.raises(InvalidInput) as caught:
        settings.proxy_to(RELAY)
    assert caught.value.code == "bad-proxy"
    assert "hush" not in str(caught.value)


def test_a_named_proxy_takes_its_password_from_the_environment_or_a_secret(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    file.write_text('[proxy]\nmode = "http://proxy.example:3128"')
    monkeypatch.setenv("FLAAS_PROXY_USER", "me")
    monkeypatch.setenv("FLAAS_PROXY_PASSWORD", "hush")
    settings = MeshSettings.load(file, api=AWAY)
    assert settings.proxy_to(RELAY) == Proxy("proxy.example", 3128, "me", "hush")
    assert "hush" not in repr(settings)
    file.write_text('[proxy]\nmode = "http://proxy.example:3128"\nsecret = "way-out"')
    kept = {"way-out": {"user": "node", "password": "secret"}}
    settings = MeshSettings.load(file, api=AWAY, credentials=kept.__getitem__)
    assert settings.proxy_to(RELAY) == Proxy("proxy.example", 3128, "node", "secret")


def test_who_vouches_for_a_relay_can_be_said_here(file: Path) -> None:
    signed, own = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))
    (file.parent / "own.pem").write_text(own)
    relay = RelaySite("r", RELAY, signed)
    assert MeshSettings().trust_of(relay).pem == signed
    file.write_text(f'[relay_trust]\n"{RELAY}" = "own.pem"\n')
    assert MeshSettings.load(file, api=AWAY).trust_of(relay).pem == own
    assert MeshSettings.load(file, api=AWAY).trust_of(RelaySite("s", "https://s.example", signed)).pem == signed
    file.write_text('[relay_trust]\n"*" = "system"\n')
    assert MeshSettings.load(file, api=AWAY).trust_of(relay).pem == ""
    file.write_text('[relay_trust]\n"*" = "nowhere.pem"\n')
    with pytest.raises(InvalidInput, match=r"nowhere\.pem"):
        MeshSettings.load(file, api=AWAY)
