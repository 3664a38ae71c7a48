"""Real servers for the sources: moto (S3), fake-gcs-server, Azurite, a web server with TLS; one of each a process."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import azurite
import httpx
import pytest
import trustme
from fake_gcs import FakeGcs
from https_files import HttpsFiles

from flaas_jupyter.execution.sources import open_source

POLICY = '[policy]\ndata_hosts = ["localhost"]\n'


@dataclass
class Place:
    """Somewhere to put files, and how to say where they are."""

    scheme: str
    put: Callable[[str, bytes], str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: str | None = None  # address of what all names begin with; None where there are no folders


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def opened(home: Path) -> Callable[..., Any]:
    return functools.partial(open_source, home=home)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def running_https(authority: trustme.CA) -> Iterator[HttpsFiles]:
    server = HttpsFiles(authority)
    yield server
    server.stop()


@pytest.fixture
def https(running_https, authority, home, tmp_path, monkeypatch) -> HttpsFiles:
    """The web server, trusted, and among the hosts that the policy lists."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    (home / "node.toml").write_text(POLICY)
    running_https.reset()
    return running_https


@pytest.fixture(scope="session")
def s3() -> Iterator[Place]:
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("flask", reason="moto's server needs flask")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="hospital")

    def put(name: str, data: bytes) -> str:
        client.put_object(Bucket="hospital", Key=name, Body=data)
        return f"s3://hospital/{name}"

    yield Place("s3", put, {**keys, "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"}, "s3://hospital")
    server.stop()


@pytest.fixture(scope="session")
def gs() -> Iterator[Place]:
    server = FakeGcs()
    httpx.post(f"{server.url}/storage/v1/b?project=p", json={"name": "hospital"}).raise_for_status()

    def put(name: str, data: bytes) -> str:
        where = {"uploadType": "media", "name": name}
        httpx.post(f"{server.url}/upload/storage/v1/b/hospital/o", params=where, content=data).raise_for_status()
        return f"gs://hospital/{name}"

    yield Place("gs", put, {"STORAGE_EMULATOR_HOST": server.url}, "gs://hospital")
    server.stop()


@pytest.fixture(scope="session")
def az() -> Iterator[Place]:
    from pyarrow import fs

    program = azurite.find()
    if program is None:
        pytest.skip(azurite.MISSING)
    server = azurite.Azurite(program)
    where = server.url.removeprefix("http://")
    store = fs.AzureFileSystem(
        azurite.ACCOUNT,
        account_key=azurite.KEY,
        blob_storage_authority=where,
        dfs_storage_authority=where,
        blob_storage_scheme="http",
        dfs_storage_scheme="http",
    )
    store.create_dir("hospital")

    def put(name: str, data: bytes) -> str:
        with store.open_output_stream(f"hospital/{name}", compression=None) as stream:
            stream.write(data)
        return f"az://hospital@{azurite.ACCOUNT}/{name}"

    keys = {"AZURE_STORAGE_KEY": azurite.KEY, "AZURE_STORAGE_SERVICE_ENDPOINT": server.url}
    yield Place("az", put, keys, f"az://hospital@{azurite.ACCOUNT}")
    server.stop()


@pytest.fixture(params=["file", "s3", "gs", "az", "https"])
def place(request, monkeypatch, tmp_path) -> Place:
    """Each kind of place in turn."""
    if request.param == "file":

        def put(name: str, data: bytes) -> str:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return str(path)

        return Place("file", put, folder=str(tmp_path / "data"))
    if request.param == "https":
        return Place("https", request.getfixturevalue("https").put)
    found: Place = request.getfixturevalue(request.param)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def image() -> Callable[..., bytes]:
    """Make a picture of one shade, or colour: size in width and height."""
    from PIL import Image

    def make(size: tuple[int, int], shade: Any, kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new("L" if isinstance(shade, int) else "RGB", size, shade).save(buffer, kind)
        return buffer.getvalue()

    return make
