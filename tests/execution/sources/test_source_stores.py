"""Credentials and endpoints of the clouds' stores, and what their errors mean."""

import base64
import json

import azurite
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import RSAKey
from pyarrow import fs
from tables import frame

from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from flaas_jupyter.execution.sources.gs import self_signed
from flaas_jupyter.execution.sources.objects import endpoint, refused
from flaas_jupyter.execution.sources.secrets import Secret, SecretStore

CSV = b"a,b\n1,2\n"


def code(call, *args, **options) -> str:
    with pytest.raises(FlaasError) as error:
        call(*args, **options)
    return error.value.code


@pytest.fixture
def away(monkeypatch):
    """No credentials anywhere but where a test puts them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_azure_takes_the_secret_that_is_named(az, away, opened, home, monkeypatch):
    url = az.put("secret/t.csv", CSV)
    monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", az.environment["AZURE_STORAGE_SERVICE_ENDPOINT"])
    store = SecretStore(home)
    for value in (azurite.KEY, json.dumps({"account_key": azurite.KEY})):
        store.set("store", value)
        source = opened(url, secret="store")
        assert len(frame(source)) == 1
        assert azurite.KEY not in repr(source)
    monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.KEY)
    assert len(frame(opened(url))) == 1
    for wrong in (base64.b64encode(bytes(64)).decode(), "sv=2024-01-01&sr=c&sig=abc%3D"):
        store.set("store", wrong)
        with pytest.raises(NotAllowed) as error:
            opened(url, secret="store").stamp()
        assert error.value.code == "source-access-denied"
        assert wrong not in str(error.value)
    store.set("store", '{"something": "else"}')
    assert code(opened(url, secret="store").stamp) == "bad-secret"
    assert code(opened, "az://hospital/t.csv") == "bad-source"  # whose account?
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite.ACCOUNT)
    assert len(frame(opened("az://hospital/secret/t.csv"))) == 1


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_amazon_and_google_take_the_secret_that_is_named(request, kind, away, opened, home, monkeypatch):
    place = request.getfixturevalue(kind)
    url = place.put("secret/t.csv", CSV)
    for name, value in place.environment.items():
        if "KEY" not in name:
            monkeypatch.setenv(name, value)
    given = []
    real = {"s3": fs.S3FileSystem, "gs": fs.GcsFileSystem}[kind]
    monkeypatch.setattr(fs, real.__name__, lambda **options: given.append(options) or real(**options))
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    secret = {
        "s3": {"access_key_id": "AKIA1", "secret_access_key": "hidden", "region": "eu-west-1"},
        "gs": {"client_email": "node@clinic.iam", "private_key": private, "private_key_id": "k1", "type": "x"},
    }[kind]
    SecretStore(home).set("store", json.dumps(secret))
    assert len(frame(opened(url, secret="store"))) == 1
    if kind == "s3":
        assert (given[0]["access_key"], given[0]["secret_key"], given[0]["region"]) == ("AKIA1", "hidden", "eu-west-1")
    else:
        token = jwt.decode(given[0]["access_token"], RSAKey.import_key(private))
        assert token.header["kid"] == "k1"
        assert token.claims["sub"] == "node@clinic.iam"
        assert token.claims["scope"].endswith("devstorage.read_only")
        assert token.claims["exp"] - token.claims["iat"] == 3600
    SecretStore(home).set("store", "a password")
    assert code(opened(url, secret="store").stamp) == "bad-secret"


def test_a_key_that_is_none_is_refused_without_being_shown():
    secret = Secret("store", json.dumps({"client_email": "a", "private_key": "hunter2", "private_key_id": "b"}))
    with pytest.raises(InvalidInput) as error:
        self_signed(secret)
    assert error.value.code == "bad-secret"
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("value", ["http://store.example", "ftp://store.example", "https://user:hunter2@store.example"])
def test_endpoints_are_encrypted_or_on_this_machine(value):
    with pytest.raises(InvalidInput) as error:
        endpoint("STORE", environment={"STORE": value})
    assert error.value.code == "bad-endpoint"
    assert "hunter2" not in str(error.value)


def test_endpoints_that_are():
    found = endpoint("A", "B", environment={"B": "https://store.example:9000/path/"})
    assert (found.scheme, found.authority, found.path) == ("https", "store.example:9000", "path")
    assert endpoint("A", environment={"A": "localhost:4443"}).scheme == "http"
    assert endpoint("A", environment={}) is None


@pytest.mark.parametrize(
    ("kind", "error_code", "text"),
    [
        (NotAllowed, "source-access-denied", "AWS Error ACCESS_DENIED during HeadObject operation: No response body."),
        (NotAllowed, "source-access-denied", "AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation: …"),
        (NotAllowed, "source-access-denied", "google::cloud::Status(PERMISSION_DENIED: Permanent error, with …)"),
        (NotAllowed, "source-access-denied", "Azure Error: [AuthorizationFailure] 403 Server failed to authenticate"),
        (Unreachable, "source-unreachable", "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 6"),
        (Unreachable, "source-unreachable", "google::cloud::Status(UNAVAILABLE: Retry policy exhausted"),
        (Unreachable, "source-unreachable", "Fail to get a new connection for: https://a. Could not connect to server"),
        (InvalidInput, "unreadable-data", "AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: …"),
        (InvalidInput, "unreadable-data", "key 'report-403-connection.csv': it broke"),
    ],
)
def test_what_errors_of_stores_mean(kind, error_code, text):
    told = refused("s3://hospital/t.csv", OSError(text))
    assert isinstance(told, kind)
    assert told.code == error_code


@pytest.mark.parametrize("url", ["s3://", "s3:///t.csv", "s3://a/t.csv", "gs://bad bucket/t.csv", "s3://b_ü/t.csv"])
def test_names_that_no_bucket_has(opened, url):
    assert code(opened, url) == "bad-source"


def test_ports_parameters_and_climbing_are_no_part_of_a_bucket(opened):
    for url in ("s3://127.0.0.1:9000/t.csv", "s3://hospital/t.csv?endpoint=http://evil", "gs://hospital/a/../../t.csv"):
        assert code(opened, url) == "bad-source"
    assert code(opened, "s3://hospital/t.csv", query="SELECT 1") == "bad-source"
