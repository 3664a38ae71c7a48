"""Uploads at a node without network or API: what it takes, from whom, and what it refuses and why."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.communications.coordinator import Event
from flaas_jupyter.communications.directory import Directory, Membership, Peer, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.upload_key import fingerprint
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, NotFound, Unreachable
from flaas_jupyter.execution import upload_request, uploads
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.uploads import Uploads
from flaas_jupyter.protocols.upload import (
    Details,
    FileKey,
    Finish,
    Header,
    Root,
    open_receipt,
    seal_chunk,
    seal_digest,
    seal_envelope,
    seal_finish,
)

PROJECT = "demo"
FILE = b"age,sick\n" + b"".join(b"%d,%d\n" % (18 + n % 60, n % 2) for n in range(4000))


class Site:
    """A node that takes uploads, its project, and somebody who sends."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.home = folder
        self.domain, self.node, self.sender = (Identity(bytes([n]) * 32) for n in (1, 2, 3))
        self.stranger = Identity(bytes([4]) * 32)
        self.policy = Policy(**{"projects": (PROJECT,), "uploads": (self.sender.node_id,), **policy})
        self.serial = 0
        self.memberships: dict[str, dict[str, Any]] = {}
        self.directory = Directory(PROJECT, self.domain.node_id)
        self.admit(self.node, "node")
        self.admit(self.sender, "developer")
        self.admit(self.stranger, "developer")
        self.records: dict[str, dict[str, Any]] = {}
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.announced = 0
        self.cut = False
        self.asked = 0
        self.open()

    def open(self) -> None:
        """Start, or start again: what is kept on disk is all that is left."""
        self.datasets = DatasetRegistry(self.home)
        self.uploads = Uploads(
            self.home,
            identity=self.node,
            policy=self.policy,
            datasets=self.datasets,
            directory=lambda project: self.directory,
            refresh=self._refresh,
            fetch=self._fetch,
            report=lambda path, body: self.reports.append((path, body)),
            registered=self._registered,
        )

    def admit(self, identity: Identity, *roles: str, until: int = 3600) -> None:
        """Sign a membership; without roles, one that revokes."""
        self.serial += 1
        now = int(time.time())
        membership = Membership(PROJECT, identity.node_id, "clinic", roles, now - 7200, now + until, self.serial)
        self.memberships[identity.node_id] = sign_membership(self.domain, membership)
        self.directory.update(
            {
                "domain": PROJECT,
                "domain_key": self.domain.node_id,
                "memberships": list(self.memberships.values()),
                "records": [],
            }
        )

    async def _refresh(self) -> None:
        return None

    async def _fetch(self, path: str) -> dict[str, Any]:
        self.asked += 1
        if self.cut:
            raise Unreachable("The API does not answer.", code="api-unreachable")
        upload = path.removeprefix("/v1/uploads/")
        if upload not in self.records:
            raise NotFound("There is no such upload.", code="unknown-upload")
        return self.records[upload]

    async def _registered(self) -> None:
        self.announced += 1

    async def ask(self, kind: str, body: dict[str, Any], *, sender: Identity | None = None, **tensors: Any) -> Any:
        """Send the node a message."""
        who = sender or self.sender
        route = self.uploads.routes()[kind]
        peer = self.directory.require(who.node_id, route.role)
        return (await route.handler(Peer(*vars(peer).values()), Message(kind, body, tensors))).body


class Sealed:
    """A file as somebody seals it for the site's node."""

    def __init__(self, site: Site, file: bytes = FILE, dataset: str = "sent", **details: Any) -> None:
        self.site, self.file, self.dataset = site, file, dataset
        self.header = Header(os.urandom(16).hex(), site.node.node_id, len(file), 4096)
        self.key = FileKey()
        assert site.uploads.key is not None
        public = bytes.fromhex(site.uploads.key.public)
        told = Details(**{"name": "people.csv", "target": "sick", **details})
        self.envelope = seal_envelope(self.header, public, self.key, told)
        self.seal = seal_digest(self.header, self.envelope)
        self.record = {
            "id": self.header.upload, "project": PROJECT, "node": site.node.node_id, "dataset": dataset,
            "size": len(file), "digest": self.seal.hex(), "submitter": site.sender.node_id, "state": "open",
            "expires": "2100-01-01T00:00:00Z",
        }  # fmt: skip
        site.records[self.header.upload] = self.record

    def request(self, signer: Identity | None = None, **changes: Any) -> dict[str, Any]:
        now = changes.pop("now", time.time())
        return upload_request.sign(
            signer or self.site.sender, {**self.record, **changes}, header=self.header, seal=self.seal, now=now
        )

    def piece(self, index: int) -> bytes:
        return self.file[index * 4096 :][:4096]

    async def open(self, **changes: Any) -> dict[str, Any]:
        body = {"request": self.request(), "envelope": self.envelope, **changes}
        return await self.site.ask("upload/open", body)

    async def put(self, index: int, sealed: bytes | None = None, **options: Any) -> dict[str, Any]:
        content = seal_chunk(self.header, self.seal, self.key, index, self.piece(index)) if sealed is None else sealed
        body = {"upload": self.header.upload, "index": index}
        return await self.site.ask("upload/chunk", body, chunk=np.frombuffer(content, np.uint8), **options)

    async def put_all(self) -> None:
        for index in range(self.header.chunks):
            await self.put(index)

    async def finish(self, details: Details | None = None) -> Any:
        """Finish; return the receipt, or None if the node wants chunks again."""
        root = Root()
        for index in range(self.header.chunks):
            root.add(hashlib.sha256(self.piece(index)).digest())
        note = seal_finish(self.seal, self.key, Finish(root.digest(), details))
        state = await self.site.ask("upload/finish", {"upload": self.header.upload, "finish": note})
        while state["state"] == "checking":
            await asyncio.gather(*self.site.uploads._concluding.values())
            state = await self.site.ask("upload/state", {"upload": self.header.upload})
        return None if state["receipt"] is None else open_receipt(self.seal, self.key, state["receipt"])

    @property
    def folder(self) -> Path:
        return self.site.home / "uploads" / self.header.upload


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def code(awaitable) -> str:
    with pytest.raises(FlaasError) as caught:
        asyncio.run(awaitable)
    assert caught.value.message
    return caught.value.code


async def refused(awaitable) -> str:
    with pytest.raises(FlaasError) as caught:
        await awaitable
    assert caught.value.message
    return caught.value.code


def test_a_file_is_taken_in_any_order_and_registered(site):
    async def story():
        sealed = Sealed(site)
        assert (await sealed.open())["have"] == []
        for index in (3, 0, 0, 1):
            told = await sealed.put(index)
        assert told == {"received": 3, "chunks": sealed.header.chunks}
        assert (await sealed.open())["have"] == [[0, 1], [3, 3]]
        await sealed.put_all()
        receipt = await sealed.finish()
        assert receipt.problem is None
        assert (receipt.state, receipt.rows, receipt.size) == ("registered", 4000, len(FILE))
        assert receipt.sha256 == hashlib.sha256(FILE).hexdigest()
        registered = site.datasets.get("sent").registration
        assert Path(registered.path) == sealed.folder / "data.csv"
        assert registered.projects == (PROJECT,)
        assert site.reports == [(f"/v1/uploads/{sealed.header.upload}/outcome", {"outcome": "registered"})]
        assert site.announced == 1
        assert {path.stat().st_mode & 0o077 for path in (sealed.folder, *sealed.folder.iterdir())} == {0}
        assert (await sealed.open())["receipt"], "asked again, it is told again"
        log = [json.loads(line) for line in (site.home / "uploads" / "log.jsonl").read_text().splitlines()]
        assert [entry["outcome"] for entry in log] == ["accepted", "registered"]
        assert "people.csv" not in str(log)

    asyncio.run(story())


def test_chunks_that_are_cut_moved_changed_or_of_another_upload_are_refused(site):
    async def story():
        sealed, other = Sealed(site), Sealed(site, dataset="other")
        await sealed.open()
        good = seal_chunk(sealed.header, sealed.seal, sealed.key, 0, sealed.piece(0))
        last = sealed.header.chunks - 1
        foreign = seal_chunk(other.header, other.seal, other.key, 0, other.piece(0))
        for index, content, why in (
            (1, good, "chunk-refused"),
            (0, good[:-1], "chunk-length"),
            (0, good[:40] + bytes([good[40] ^ 1]) + good[41:], "chunk-refused"),
            (0, foreign, "chunk-refused"),
            (last, good, "chunk-length"),
            (last + 1, good, "no-such-chunk"),
            (-1, good, "no-such-chunk"),
            (True, good, "no-such-chunk"),
            ("0", good, "no-such-chunk"),
            (0, b"", "chunk-length"),
        ):
            assert await refused(sealed.put(index, content)) == why, (index, why)
        assert (await sealed.open())["received"] == 0

    asyncio.run(story())


def test_a_file_that_was_changed_between_its_chunks_is_not_registered(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put(0)
        sealed.file = sealed.file.replace(b"18,0", b"99,1")
        await sealed.put_all()  # the first chunk stays as it was
        assert await refused(sealed.finish()) == "upload-changed"

    asyncio.run(story())


def test_a_file_that_is_not_all_there_is_not_registered(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        for index in range(sealed.header.chunks - 1):
            await sealed.put(index)
        assert await refused(sealed.finish()) == "upload-incomplete"
        assert site.datasets.list() == []

    asyncio.run(story())


def test_it_goes_on_where_it_was_when_the_node_starts_again(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put(2)
        (sealed.folder / "chunks").open("ab").write(b"half a record")
        site.open()
        assert await refused(site.ask("upload/state", {"upload": "ab" * 16})) == "upload-not-open"
        assert (await site.ask("upload/state", {"upload": sealed.header.upload}))["have"] == [[2, 2]]
        await sealed.put_all()
        assert (await sealed.finish()).state == "registered"

    asyncio.run(story())


def test_what_the_disk_has_lost_is_asked_for_again(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put_all()
        with (sealed.folder / "part").open("r+b") as part:
            part.seek(4096)
            part.write(bytes(100))
        assert await sealed.finish() is None
        state = await sealed.open()
        assert (state["state"], state["received"]) == ("receiving", sealed.header.chunks - 1)
        await sealed.put(1)
        assert (await sealed.finish()).state == "registered"

    asyncio.run(story())


def test_what_is_asked_twice_at_once_is_done_once(site):
    async def story():
        sealed = Sealed(site)
        await asyncio.gather(sealed.open(), sealed.open())
        await asyncio.gather(*(sealed.put(index) for index in range(sealed.header.chunks) for _ in range(2)))
        receipts = await asyncio.gather(sealed.finish(), sealed.finish())
        assert [receipt.state for receipt in receipts] == ["registered", "registered"]
        assert (site.announced, len(site.reports)) == (1, 1)

    asyncio.run(story())


def test_nobody_takes_over_what_another_has_begun(site):
    async def story():
        site.uploads._policy = Policy(projects=(PROJECT,), uploads=(site.sender.node_id, site.stranger.node_id))
        sealed = Sealed(site)
        await sealed.open()
        copied = {"request": sealed.request(site.stranger), "envelope": sealed.envelope}
        assert await refused(site.ask("upload/open", copied, sender=site.stranger)) == "upload-altered"
        await sealed.put(0)

    asyncio.run(story())


def test_an_id_that_another_upload_has_is_refused(site):
    async def story():
        sealed, other = Sealed(site), Sealed(site, dataset="other")
        await sealed.open()
        other.header = Header(sealed.header.upload, site.node.node_id, len(FILE), 4096)
        public = bytes.fromhex(site.uploads.key.public)
        other.envelope = seal_envelope(other.header, public, other.key, Details("people.csv", target="sick"))
        other.seal = seal_digest(other.header, other.envelope)
        other.record |= {"id": other.header.upload, "digest": other.seal.hex()}
        site.records[other.header.upload] = other.record
        assert await refused(other.open()) == "upload-exists"
        assert (await site.ask("upload/state", {"upload": sealed.header.upload}))["dataset"] == "sent"

    asyncio.run(story())


def test_damaged_state_is_as_if_there_were_none(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put(0)
        kept = json.loads((sealed.folder / "upload.json").read_text())
        kept["request"]["body"]["dataset"] = "swapped"
        (sealed.folder / "upload.json").write_text(json.dumps(kept))
        site.open()
        assert (await sealed.open())["received"] == 0

    asyncio.run(story())


def test_what_cannot_be_registered_is_told_sealed_and_can_be_corrected(site):
    async def story():
        sealed = Sealed(site, target="ill")
        await sealed.open()
        await sealed.put_all()
        receipt = await sealed.finish()
        assert (receipt.state, receipt.problem["code"]) == ("rejected", "no-target")
        assert str(site.home) not in str(receipt.problem)
        assert site.reports == [], "it is open still"
        assert b"sick" not in (sealed.folder / "upload.json").read_bytes(), "columns are for the sender"
        site.open()
        assert (await sealed.open())["state"] == "rejected"
        assert (await sealed.finish(Details("people.csv", target="sick"))).state == "registered"

    asyncio.run(story())


def test_a_node_killed_while_it_registered_finishes_it(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put_all()
        kept = (sealed.folder / "upload.json").read_bytes()
        await sealed.finish()
        (sealed.folder / "upload.json").write_bytes(kept)
        site.open()
        assert (await sealed.finish()).state == "registered"
        assert [each.name for each in site.datasets.list()] == ["sent"]

    asyncio.run(story())


async def killed_while_it_registered(site: Site) -> Sealed:
    """Return an upload that is a data set, of which the node had no time to write that down."""
    sealed = Sealed(site)
    await sealed.open()
    await sealed.put_all()
    kept = (sealed.folder / "upload.json").read_bytes()
    await sealed.finish()
    (sealed.folder / "upload.json").write_bytes(kept)
    site.reports.clear()
    site.open()
    return sealed


def test_what_is_registered_is_never_removed_as_an_upload(site):
    async def story():
        sealed = await killed_while_it_registered(site)
        assert await refused(site.ask("upload/abort", {"upload": sealed.header.upload})) == "upload-closed"
        assert site.datasets.get("sent").load("train").rows == 4000

        site.records[sealed.header.upload]["state"] = "expired"
        closed = event("upload.closed", site, upload=sealed.header.upload)
        for settle in (lambda: site.uploads.look(), lambda: site.uploads.on_event(closed)):
            kept = json.loads((sealed.folder / "upload.json").read_text())
            (sealed.folder / "upload.json").write_text(json.dumps({**kept, "state": "receiving", "receipt": None}))
            site.reports.clear()
            site.open()
            await settle()
            assert site.datasets.get("sent").load("train").rows == 4000
            assert (await sealed.open())["state"] == "registered"
            assert site.reports == [(f"/v1/uploads/{sealed.header.upload}/outcome", {"outcome": "registered"})]

    asyncio.run(story())


def test_a_node_that_starts_again_tells_the_sender_of_what_it_had_registered(site):
    async def story():
        sealed = await killed_while_it_registered(site)
        await site.uploads.look()
        told = await site.ask("upload/state", {"upload": sealed.header.upload})
        receipt = open_receipt(sealed.seal, sealed.key, told["receipt"])
        assert (receipt.state, receipt.rows, receipt.dataset) == ("registered", 4000, "sent")
        assert receipt.sha256 == hashlib.sha256(FILE).hexdigest()
        assert site.announced == 2

    asyncio.run(story())


def test_what_is_being_registered_is_not_looked_at(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put_all()
        site.records[sealed.header.upload]["state"] = "expired"
        site.uploads._concluding[sealed.header.upload] = asyncio.ensure_future(asyncio.sleep(0))
        await site.uploads.look()
        assert (sealed.folder / "part").exists()
        await site.uploads.on_event(event("upload.closed", site, upload=sealed.header.upload))
        assert await refused(site.ask("upload/abort", {"upload": sealed.header.upload})) == "upload-closed"
        assert (sealed.folder / "part").exists()
        del site.uploads._concluding[sealed.header.upload]
        await site.uploads.look()
        assert not sealed.folder.exists()

    asyncio.run(story())


def test_a_request_is_renewed_for_the_same_place_alone(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        for name, value in (("dataset", "other"), ("project", "second")):
            changed = {**sealed.record, name: value}
            site.records[sealed.header.upload] = changed
            site.uploads._policy = Policy(projects=(PROJECT, "second"), uploads=(site.sender.node_id,))
            assert await refused(sealed.open(request=sealed.request(**{name: value}))) == "upload-exists"
        site.records[sealed.header.upload] = sealed.record
        assert (await sealed.open())["dataset"] == "sent"
        assert (await sealed.open(request=sealed.request(now=time.time() + 5)))["dataset"] == "sent"

    asyncio.run(story())


def test_strangers_do_not_write_the_owners_log(site):
    async def story():
        for number in range(3):
            sealed = Sealed(site, dataset=f"theirs{number}")
            sealed.record["submitter"] = site.stranger.node_id
            body = {"request": sealed.request(site.stranger), "envelope": sealed.envelope}
            assert await refused(site.ask("upload/open", body, sender=site.stranger)) == "policy-uploads"
        assert not (site.home / "uploads" / "log.jsonl").exists()
        site.uploads._policy = Policy(projects=(PROJECT,), uploads=(site.sender.node_id,), upload_limit=1000)
        assert await refused(Sealed(site).open()) == "policy-upload-limit"
        assert len((site.home / "uploads" / "log.jsonl").read_text().splitlines()) == 1

    asyncio.run(story())


def test_who_is_not_named_sends_nothing(site):
    sealed = Sealed(site)
    body = {"request": sealed.request(site.stranger), "envelope": sealed.envelope}
    sealed.record["submitter"] = site.stranger.node_id
    assert code(site.ask("upload/open", body, sender=site.stranger)) == "policy-uploads"
    assert not sealed.folder.exists()


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"uploads": ()}, "policy-uploads"),
        ({"upload_limit": 1000}, "policy-upload-limit"),
        ({"projects": ("other",)}, "policy-projects"),
        ({"deny_organisations": ("clinic",)}, "policy-uploads"),
        ({"datasets": {"sent": {"uploads": ()}}}, "policy-uploads"),
    ],
)
def test_what_the_owner_does_not_allow_is_refused(tmp_path, policy, why):
    site = Site(tmp_path)
    sealed = Sealed(site)
    site.uploads._policy = Policy(
        **{"projects": (PROJECT,), "uploads": (site.sender.node_id,), "contact": "ana@clinic", **policy}
    )
    with pytest.raises(FlaasError) as caught:
        asyncio.run(sealed.open())
    assert caught.value.code == why
    assert "ana@clinic" in caught.value.hint
    assert not sealed.folder.exists()


def test_a_request_is_the_senders_own_for_this_very_upload(site):
    sealed = Sealed(site)
    envelope = {"envelope": sealed.envelope}

    def opening(**changes):
        return code(sealed.open(**changes))

    forged = sealed.request()
    forged["body"]["dataset"] = "other"
    assert opening(request=forged) == "bad-signature"
    assert opening(request=sealed.request(site.stranger)) == "upload-not-yours"
    assert opening(request=sealed.request(), envelope=sealed.envelope[:-1] + b"x") == "upload-altered"
    assert opening(request=sealed.request(now=time.time() - 8 * 86400)) == "upload-expired"
    assert opening(request=sealed.request(dataset="other")) == "upload-altered"
    assert opening(request=None, **envelope) == "bad-upload"
    for name, value in (("digest", "00" * 32), ("size", 1), ("submitter", "00" * 32), ("node", "00" * 32)):
        site.records[sealed.header.upload] = {**sealed.record, name: value}
        assert opening() == "upload-altered"
    site.records[sealed.header.upload] = {**sealed.record, "state": "aborted"}
    assert opening() == "upload-closed"
    del site.records[sealed.header.upload]
    assert opening() == "unknown-upload"


def test_a_file_sealed_for_another_key_or_node_is_refused(site):
    sealed = Sealed(site)
    (site.home / "upload.key").unlink()
    site.open()
    assert code(sealed.open()) == "upload-unreadable"
    elsewhere = Sealed(site)
    elsewhere.header = Header(elsewhere.header.upload, "ab" * 32, len(FILE), 4096)
    elsewhere.seal = seal_digest(elsewhere.header, elsewhere.envelope)
    assert code(elsewhere.open()) == "upload-elsewhere"


def test_revocation_and_quarantine_stop_it_at_the_next_chunk(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put(0)
        await site.uploads.on_event(event("node.quarantined", site, reason="Its disk fails."))
        assert await refused(sealed.put(1)) == "node-quarantined"
        await site.uploads.on_event(event("node.released", site))
        await sealed.put(1)
        site.admit(site.sender, "developer", until=-3600)
        assert await refused(sealed.put(2)) == "membership-expired"
        site.admit(site.sender, "developer")
        site.admit(site.node, "node", until=-3600)
        assert await refused(sealed.put(2)) == "membership-expired"
        assert await refused(sealed.finish()) == "membership-expired"
        assert (await site.ask("upload/state", {"upload": sealed.header.upload}))["received"] == 2

    asyncio.run(story())


def event(type: str, site: Site, **data: Any) -> Event:
    return Event(1, type, "", PROJECT, None, site.node.node_id, data)


def test_what_the_api_has_ended_is_removed(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put(0)
        site.records[sealed.header.upload] = {**sealed.record, "state": "aborted"}
        await site.uploads.on_event(event("upload.closed", site, upload=sealed.header.upload))
        assert not sealed.folder.exists()
        assert await refused(sealed.put(1)) == "upload-not-open"

    asyncio.run(story())


def test_what_was_ended_or_has_expired_while_the_node_was_away_is_removed(site):
    async def story():
        ended, kept = Sealed(site, dataset="ended"), Sealed(site, dataset="kept")
        for sealed in (ended, kept):
            await sealed.open()
            await sealed.put(0)
        site.records[ended.header.upload] = {**ended.record, "state": "aborted"}
        site.open()
        await site.uploads.look()
        assert (ended.folder.exists(), kept.folder.exists()) == (False, True)

    asyncio.run(story())


def test_an_api_that_is_away_for_a_while_stops_nothing_that_is_under_way(site, monkeypatch):
    monkeypatch.setattr(uploads, "LOOK_AGAIN", 0.0)

    async def story():
        sealed = Sealed(site)
        site.cut = True
        assert await refused(sealed.open()) == "api-unreachable"
        site.cut = False
        await sealed.open()
        site.cut = True
        await sealed.put(0)
        monkeypatch.setattr(uploads, "PATIENCE", 0.0)
        assert await refused(sealed.put(1)) == "api-unreachable"

    asyncio.run(story())


def test_whoever_may_look_at_data_may_send_some_if_the_owner_says_so(site):
    async def story():
        sealed = Sealed(site)
        site.admit(site.sender, "explorer")
        assert (await sealed.open())["state"] == "receiving"
        site.admit(site.sender, "node")
        assert await refused(sealed.put(0)) == "role-missing"

    asyncio.run(story())


def test_nobody_sees_or_touches_what_others_send(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        body = {"upload": sealed.header.upload}
        for kind in ("upload/state", "upload/finish", "upload/abort"):
            assert await refused(site.ask(kind, body, sender=site.stranger)) == "upload-not-open"
        assert await refused(sealed.put(0, sender=site.stranger)) == "upload-not-open"
        for hostile in ("../datasets", "..", "/etc", sealed.header.upload.upper(), "", None, 7):
            assert await refused(site.ask("upload/state", {"upload": hostile})) in ("upload-not-open", "bad-upload")
        assert sealed.folder.exists()

    asyncio.run(story())


def test_an_abort_leaves_nothing(site):
    async def story():
        sealed = Sealed(site)
        await sealed.open()
        await sealed.put(0)
        await site.ask("upload/abort", {"upload": sealed.header.upload})
        await site.ask("upload/abort", {"upload": sealed.header.upload})
        assert not sealed.folder.exists()
        assert site.reports == [(f"/v1/uploads/{sealed.header.upload}/outcome", {"outcome": "aborted"})]

    asyncio.run(story())


def test_a_full_disk_is_told_before_and_while_a_file_is_sent(site, monkeypatch):
    async def story():
        sealed = Sealed(site)
        Usage = namedtuple("Usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, len(FILE)))
        assert await refused(sealed.open()) == "upload-no-room"
        monkeypatch.undo()
        await sealed.open()
        monkeypatch.setattr(os, "pwrite", fail)
        assert await refused(sealed.put(0)) == "upload-no-room"
        monkeypatch.undo()
        await sealed.put(0)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    asyncio.run(story())


def test_what_could_never_be_registered_is_refused_before_it_is_sent(site):
    async def story():
        first = Sealed(site)
        await first.open()
        await first.put_all()
        await first.finish()
        assert await refused(Sealed(site).open()) == "dataset-exists"
        for name in ("people", "people.exe", "people.csv.zip", ".."):
            assert await refused(Sealed(site, dataset="other", name=name).open()) == "unknown-data-format"
        assert (
            await refused(Sealed(site, dataset="other", schema=({"name": "age", "role": "boss"},)).open())
            == "bad-schema"
        )
        assert await refused(Sealed(site, dataset="a" * 65).open()) == "bad-dataset-name"

    asyncio.run(story())


def test_a_files_name_leads_nowhere(site):
    async def story():
        sealed = Sealed(site, name="../../../../etc/cron.d/x.csv")
        await sealed.open()
        await sealed.put_all()
        assert (await sealed.finish()).state == "registered"
        assert Path(site.datasets.get("sent").registration.path) == sealed.folder / "data.csv"

    asyncio.run(story())


def test_columns_are_registered_as_they_were_declared(site):
    async def story():
        schema = ({"name": "age", "unit": "years", "range": [0, 120]}, {"name": "sick", "role": "label"})
        sealed = Sealed(site, schema=schema)
        await sealed.open()
        await sealed.put_all()
        receipt = await sealed.finish()
        assert receipt.problem is None
        assert "years" in json.dumps(site.datasets.get("sent").description())

    asyncio.run(story())


def test_only_so_many_are_under_way_at_once(site, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_OPEN", 2)

    async def story():
        for name in ("one", "two"):
            await Sealed(site, dataset=name).open()
        assert await refused(Sealed(site, dataset="three").open()) == "too-many-uploads"

    asyncio.run(story())


def test_a_node_whose_owner_takes_nothing_has_no_key(tmp_path):
    site = Site(tmp_path, uploads=())
    assert site.uploads.key is None
    assert not (tmp_path / "upload.key").exists()


def test_the_owner_is_shown_the_fingerprint_and_who_has_sent_what(site, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(site.home))
    asyncio.run(Sealed(site).open())
    code(Sealed(site, name="rows.exe", dataset="other").open())
    shown = CliRunner().invoke(main, ["node", "uploads", "--json"])
    entries = json.loads(shown.output)
    assert [(each["dataset"], each["outcome"], each["reason"]) for each in entries] == [
        ("sent", "accepted", None), ("other", "refused", "unknown-data-format"),
    ]  # fmt: skip
    assert entries[0]["sender"] == site.sender.node_id
    Enrolment("north").save(site.home / "node.json")
    (site.home / "node.toml").write_text(f'[policy]\nuploads = ["{site.sender.node_id}"]\n')
    Identity.load_or_create(site.home / "node.key")
    told = json.loads(CliRunner().invoke(main, ["node", "status", "--json"]).output)
    assert told["upload_key"] == fingerprint(told["node_id"], site.uploads.key.public)


def test_the_upload_key_is_the_owners_alone(tmp_path):
    Site(tmp_path)
    path = tmp_path / "upload.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(FlaasError) as caught:
        Site(tmp_path)
    assert caught.value.code == "key-exposed"
