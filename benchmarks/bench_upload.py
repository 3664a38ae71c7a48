"""A sealed upload to a node against plain ones, in the same run: the same file, from the same client.

The sealed one takes the whole way: sealed in the client, Jupyter Server, its bridge, the mesh, a node that opens each
chunk and writes it. Plain are JupyterLab's own upload to the same server (its contents API: pieces of 1 MiB in base64,
one after the other), which is what people have otherwise and ends at the server, and, as the least that HTTP can cost,
chunks of 4 MiB that a bare Tornado process writes to a file. All processes are on one machine, and share its cores.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.upload_key import UploadKeyStatement
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.protocols.upload import Details

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from federation.test_uploads import JupyterServer
from federation.upload_sender import Sealed, Sender

MIB = 64 if os.environ.get("BENCH_QUICK") else 192
CHUNK, PIECE = 4 << 20, 1 << 20
AT_ONCE = 4

BARE = """
import sys, tornado.ioloop, tornado.web, tornado.httpserver, tornado.netutil
file = open(sys.argv[1], "wb")
class Put(tornado.web.RequestHandler):
    def put(self, index):
        file.seek(int(index) * (4 << 20)); file.write(self.request.body); self.finish({})
server = tornado.httpserver.HTTPServer(tornado.web.Application([(r"/(\\d+)", Put)]))
sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
server.add_sockets(sockets)
print(sockets[0].getsockname()[1], flush=True)
tornado.ioloop.IOLoop.current().start()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalFederation, Sender]]:
    folder = tmp_path_factory.mktemp("upload")
    federation = LocalFederation(folder / "federation")
    federation.settings = {"uploads": [Identity.load_or_create(federation.developer_home.key).node_id]}
    server = JupyterServer(folder / "jupyter", federation.developer_home.path)
    try:
        federation.start({"north": {}}, None)
        federation.wait_online()
        yield federation, server.sender()
    finally:
        server.stop()
        federation.stop()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("file") / "rows.npz"
    rows = (MIB << 20) // (4 * 64)
    np.savez(path, x=rng.standard_normal((rows, 64), dtype=np.float32), y=rng.integers(0, 2, rows))
    return path.read_bytes()


def plain(sender: Sender, file: bytes) -> None:
    """Upload as JupyterLab does."""
    pieces = range(0, len(file), PIECE)
    for number, start in enumerate(pieces, start=1):
        last = start + PIECE >= len(file)
        body = {
            "type": "file", "format": "base64", "name": "rows.npz", "chunk": -1 if last else number,
            "content": base64.b64encode(file[start : start + PIECE]).decode(),
        }  # fmt: skip
        sender.http.put("api/contents/rows.npz", json=body).raise_for_status()


def bare(folder: Path, file: bytes) -> float:
    """Upload to a process that does nothing but write; return the seconds."""
    command = [sys.executable, "-c", BARE, str(folder / "bare")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/"
        with httpx.Client() as client:
            began = time.perf_counter()
            at_once(
                lambda index: client.put(f"{url}{index}", content=file[index * CHUNK :][:CHUNK]).raise_for_status(),
                -(-len(file) // CHUNK),
            )
            seconds = time.perf_counter() - began
        process.kill()
    return seconds


def at_once(send: Callable[[int], Any], count: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(send, range(count)))


def test_upload(benchmark: Any, place: tuple[LocalFederation, Sender], file: bytes, tmp_path: Path) -> None:
    federation, sender = place
    node = federation.nodes["north"].node_id
    key = UploadKeyStatement.parse(sender.upload_key(node, federation.project)["statement"]).key
    sent: list[Sealed] = []

    def upload() -> None:
        sealed = Sealed(file, node, key, Details("rows.npz"), CHUNK)
        sender.open(sealed, federation.project, f"sent-{len(sent)}")
        at_once(lambda index: sender.put(sealed, index).raise_for_status(), sealed.header.chunks)
        sent.append(sealed)

    benchmark.pedantic(upload, rounds=3, warmup_rounds=1)
    seconds = min(benchmark.stats.stats.data)
    plainly = min(timed(lambda: plain(sender, file)) for _ in range(3))
    barely = min(bare(tmp_path, file) for _ in range(3))
    began = time.perf_counter()
    receipt = sender.finish(sent[-1], limit=300)
    assert receipt.state == "registered", receipt.problem
    benchmark.extra_info |= {
        "mib": MIB,
        "mib_per_second": MIB / seconds,
        "plain_mib_per_second": MIB / plainly,
        "bare_http_mib_per_second": MIB / barely,
        "ratio": plainly / seconds,
        "ratio_to_bare_http": barely / seconds,
        "seconds_to_register": time.perf_counter() - began,
    }
    print(json.dumps(benchmark.extra_info, indent=1))
    assert plainly / seconds >= 0.5


def timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
