"""Files that are sealed in the browser: JupyterLab in a real Chromium, its bridge, a real API and a real node.

Everything between browser and JupyterLab goes through a proxy that keeps it all.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, expect

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.upload_key import UploadKey
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.execution.datasets import DatasetRegistry

from .conftest import ARTIFACTS
from .contrast import texts
from .lab import Lab, LabServer
from .recording_proxy import RecordingProxy

LONG = 60_000  # ms
MIB = 1 << 20
LIMIT = 3 << 30
HUGE = 2 << 30
FLAT = 256 * MIB  # three chunks of 4 MiB, as they are and sealed, and what the collector has not yet seen
NAME = "nobody-reads-this-name.csv"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """One node that takes files from the developer."""
    running = LocalFederation(tmp_path_factory.mktemp("uploads") / "federation")
    sender = Identity.load_or_create(running.developer_home.key).node_id
    running.settings = {"uploads": [sender], "upload_limit": LIMIT}
    try:
        running.start({"clinic": {}}, None)
        running.wait_online()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def lab_server(federation: LocalFederation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    environment = {"FLAAS_HOME": str(federation.developer_home.path), "FLAAS_URL": federation.url}
    with LabServer(tmp_path_factory.mktemp("lab"), environment) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(lab_server: LabServer) -> Iterator[RecordingProxy]:
    with RecordingProxy(lab_server.url) as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of its own; JupyterLab says a lot on its console when it is cut off."""
    made = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-GB")
    yield made
    made.close()


@pytest.fixture
def upload(context: BrowserContext, lab_server: LabServer, proxy: RecordingProxy) -> Iterator[Upload]:
    page = context.new_page()
    proxy.mend()
    yield Upload(page, lab_server, proxy.url)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "end-of-upload.png")


class Upload:
    """The part "Upload" of the panel."""

    def __init__(self, page: Page, server: LabServer, url: str) -> None:
        there = copy.copy(server)
        there.url = url
        self.lab = Lab(page, there)
        # JupyterLab says so, too, when it is cut off, and stands in the way.
        cut_off = page.locator(".jp-Dialog").filter(has_text="Server Connection Error")
        page.add_locator_handler(cut_off, lambda dialog: dialog.get_by_role("button").last.click())
        self.lab.open()

    @property
    def root(self) -> Locator:
        return self.lab.panel.root.locator("details.flaas-Part").filter(has_text="Upload").first

    @property
    def items(self) -> Locator:
        return self.root.get_by_role("list", name="Uploads").get_by_role("listitem")

    def item(self, name: str) -> Locator:
        return self.items.filter(has_text=name)

    def open(self) -> Upload:
        root = self.root
        if root.get_attribute("open") is None:
            root.locator("summary").click()
        return self

    def choose(self, file: Path, button: str = "Choose a file …") -> None:
        with self.lab.page.expect_file_chooser() as chooser:
            self.root.get_by_role("button", name=button).click()
        chooser.value.set_files(file)

    def fill(self, name: str, target: str = "") -> None:
        self.root.get_by_label("Name of the data set").fill(name)
        self.root.get_by_label("Column to predict").fill(target)

    def believe(self) -> None:
        """Say that the key was compared, where that is asked."""
        expect(self.root.get_by_role("region", name="Key of the node")).to_be_visible()
        box = self.root.get_by_role("checkbox", name=re.compile("I have compared"))
        if box.count():
            box.check()

    def send(self, file: Path, name: str, target: str = "") -> None:
        self.choose(file)
        self.fill(name, target)
        self.believe()
        self.root.get_by_role("button", name="Encrypt and upload").click()

    def picture(self, name: str) -> None:
        """Take a picture in light and dark; every text can be read."""
        self.lab.page.set_viewport_size({"width": 900, "height": 1100})
        for shade, theme in THEMES.items():
            self.lab.theme(theme)
            self.root.scroll_into_view_if_needed()
            self.lab.page.mouse.move(890, 1090)
            self.lab.panel.root.screenshot(path=ARTIFACTS / f"upload-{name}-{shade}.png")
            assert [text for text in texts(self.root) if text.contrast < 4.5] == []
        self.lab.theme(THEMES["light"])


def write_table(path: Path, size: int, seed: int) -> bytes:
    """Write a table of about `size` bytes, no two rows of which are alike."""
    rng = np.random.default_rng(seed)
    rows = size // 31
    table = rng.integers(10**8, 10**9, (rows, 2)), rng.integers(10**7, 10**8, rows), np.arange(rows) % 2
    lines = ["a,b,c,label", *(f"{a},{b},{c},{y}" for (a, b), c, y in zip(*table, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path.read_bytes()


def home_of(federation: LocalFederation) -> Path:
    return federation.nodes["clinic"].home.path


def registered(federation: LocalFederation, name: str) -> bytes:
    return Path(DatasetRegistry(home_of(federation)).get(name).registration.path).read_bytes()


def readable(file: bytes) -> list[bytes]:
    """Pieces of a file as they would look to who could read it, as they are, in base64 and in hex."""
    pieces: list[bytes] = []
    for start in np.linspace(0, len(file) - 64, 40, dtype=int):
        piece = file[start : start + 48]
        encoded = [base64.b64encode(piece[shift : shift + 45])[4:-4] for shift in range(3)]
        pieces += [piece[:24], *encoded, piece[:24].hex().encode()]
    return pieces


def test_a_file_survives_cut_and_reload_and_nobody_in_between_can_read_it(
    upload: Upload, federation: LocalFederation, proxy: RecordingProxy, lab_server: LabServer, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    file = write_table(path, 12 * MIB, seed=1)
    lab = upload.open().lab
    upload.choose(path)
    upload.fill("secrets", "label")
    key = upload.root.get_by_role("region", name="Key of the node")
    public = UploadKey.load_or_create(home_of(federation) / "upload.key").public
    node = federation.nodes["clinic"].node_id
    digest = hashlib.sha256(b"flaas/upload-key/1\x00" + bytes.fromhex(node + public)).hexdigest()
    expect(key).to_contain_text(" ".join(digest[place : place + 4] for place in range(0, 32, 4)))
    upload.picture("form")
    upload.believe()

    proxy.cut_after(5 * MIB)
    upload.root.get_by_role("button", name="Encrypt and upload").click()
    proxy.wait_cut()
    expect(upload.item("secrets")).to_contain_text("no connection")
    with pytest.raises(Error):
        lab.page.reload()
    lab.page.wait_for_url("chrome-error://chromewebdata/")
    proxy.mend()
    before = len(proxy.chunks)
    lab.open(reset=False)

    item = upload.item("secrets")
    expect(item).to_contain_text("waits for its file")
    expect(item).to_contain_text(re.compile(r"MB of 12\.\d MB"))
    upload.picture("after-reload")
    other = tmp_path / "other.csv"
    other.write_bytes(bytes([file[0] ^ 1]) + file[1:])
    upload.choose(other, "Choose the file of secrets again")
    expect(item).to_contain_text("That is another file")
    upload.choose(path, "Choose the file of secrets again")
    expect(item).to_contain_text("registered", timeout=LONG)

    expect(item).to_contain_text(hashlib.sha256(file).hexdigest())
    expect(item).to_contain_text(f"Rows{len(file.splitlines()) - 1:,}")
    upload.picture("registered")
    assert registered(federation, "secrets") == file
    sent = proxy.chunks
    chunks = -(-len(file) // MIB)
    assert {index for _, index in sent} == set(range(chunks))
    assert len(sent) - before < chunks, "what was there is not sent again"

    recorded = proxy.recorded
    assert len(recorded) > len(file)
    assert [piece for piece in readable(file) if piece in recorded] == []
    assert NAME.encode() not in recorded
    assert hashlib.sha256(file).hexdigest().encode() not in recorded
    elsewhere = [lab_server.folder, federation.folder / "api", federation.developer_home.path]
    files = [Path(root) / name for folder in elsewhere for root, _, names in os.walk(folder) for name in names]
    kept = [each.read_bytes() for each in [*files, federation.folder / "api.log"] if each.is_file()]
    assert not any(piece in each for piece in readable(file)[::5] for each in kept)
    assert not any(NAME.encode() in each for each in kept)

    item.get_by_role("button", name="Put secrets away").click()
    expect(upload.items).to_have_count(0)
    lab.reload()
    expect(upload.open().root.get_by_role("button", name="Choose a file …")).to_be_visible()
    expect(upload.items).to_have_count(0)


def test_it_is_paused_goes_on_and_is_discarded(
    upload: Upload, federation: LocalFederation, proxy: RecordingProxy, tmp_path: Path
) -> None:
    path = tmp_path / "paused.csv"
    write_table(path, 6 * MIB, seed=2)
    proxy.cut_after(2 * MIB)
    upload.open().send(path, "paused", "label")
    proxy.wait_cut()
    item = upload.item("paused")
    expect(item).to_contain_text("no connection")
    item.get_by_role("button", name="Pause paused").click()
    expect(item.get_by_role("status").first).to_have_text("paused")
    proxy.mend()
    identifier = proxy.chunks[-1][0]
    folder = home_of(federation) / "uploads" / identifier
    assert folder.exists()
    assert folder.stat().st_mode & 0o077 == 0
    item.get_by_role("button", name="Discard paused").click()
    upload.lab.dialog("Discard the upload").get_by_role("button", name="Discard the upload").click()
    expect(upload.items).to_have_count(0)
    assert not folder.exists()

    proxy.cut_after(2 * MIB)
    upload.send(path, "paused", "label")
    proxy.wait_cut()
    item.get_by_role("button", name="Pause paused").click()
    proxy.mend()
    item.get_by_role("button", name="Go on with paused").click()
    expect(item).to_contain_text("registered", timeout=LONG)
    assert registered(federation, "paused") == path.read_bytes()


def test_refusals_come_with_a_way_out(upload: Upload, federation: LocalFederation, tmp_path: Path) -> None:
    small = tmp_path / "small.csv"
    write_table(small, 20_000, seed=3)
    large = tmp_path / "large.csv"
    with large.open("wb") as sparse:
        sparse.truncate(LIMIT + 1)
    (tmp_path / "letter.docx").write_bytes(b"PK")

    upload.open().choose(tmp_path / "letter.docx")
    expect(upload.root.get_by_role("alert")).to_contain_text(".csv, .csv.gz, .tsv")
    upload.send(large, "large", "label")
    item = upload.item("large")
    expect(item).to_contain_text("stopped")
    expect(item.get_by_role("alert")).to_contain_text(re.compile("upload_limit"))
    item.get_by_role("button", name="Discard large").click()
    upload.lab.dialog("Discard the upload").get_by_role("button", name="Discard the upload").click()
    expect(upload.items).to_have_count(0)

    upload.send(small, "small", "lable")
    item = upload.item("small")
    expect(item).to_contain_text("not registered", timeout=LONG)
    upload.picture("rejected")
    item.get_by_label("Column to predict").fill("label")
    item.get_by_role("button", name="Register again").click()
    expect(item.get_by_role("status").first).to_have_text("registered", timeout=LONG)

    upload.send(small, "small", "label")
    again = upload.items.first
    expect(again).to_contain_text("stopped")
    expect(again.get_by_role("alert")).to_contain_text("small")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_gigabytes_leave_the_memory_of_the_browser_as_it_was(
    context: BrowserContext, lab_server: LabServer, tmp_path: Path
) -> None:
    path = tmp_path / "zeros.parquet"
    with path.open("wb") as sparse:
        sparse.truncate(HUGE)
    upload = Upload(context.new_page(), lab_server, lab_server.url).open()
    before = renderers()
    upload.send(path, "zeros")
    item = upload.item("zeros")
    most = before
    ended = item.get_by_text("not registered")  # zeros are no table
    while not ended.is_visible():
        most = max(most, renderers())
        upload.lab.page.wait_for_timeout(200)
        expect(item.get_by_text("stopped")).to_have_count(0)
    whole = hashlib.sha256()
    for _ in range(HUGE // MIB):
        whole.update(bytes(MIB))
    expect(item).to_contain_text(whole.hexdigest())
    assert most - before < FLAT, f"from {before >> 20} to {most >> 20} MiB"


def renderers() -> int:
    """Bytes of memory that the pages of this test's browser have, together."""
    mine = [each for each in psutil.Process().children(recursive=True) if "--type=renderer" in each.cmdline()]
    return sum(each.memory_info().rss for each in mine)
