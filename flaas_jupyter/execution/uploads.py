"""Sealed uploads at a node: what of the mesh is answered, and everything that is checked before a byte is taken.

A file comes from a person's browser, sealed for this node, through that person's Jupyter server and over the mesh.
The node takes it only if the person has signed for it and is a member of the project, the coordination API knows the
upload (permission, audit log), and the owner's policy names the person; and it looks again with every chunk, so that
who is revoked, or a node that is put in quarantine, is stopped in the middle. Chunks are opened as they come and put
in their place (`upload_store`); the whole file is registered as any other, and the sender told so, sealed.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..communications.coordinator import Coordinator, Event
from ..communications.directory import Directory, Peer
from ..communications.identity import Identity
from ..communications.mesh import Route
from ..communications.upload_key import UploadKey, fingerprint
from ..communications.wire import Message
from ..errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotFound, Unreachable
from ..protocols.upload import (
    CHUNK_OVERHEAD,
    LARGEST_CHUNK,
    Details,
    FileKey,
    Header,
    Receipt,
    open_chunk,
    open_envelope,
    open_finish,
    seal_digest,
    seal_receipt,
)
from . import upload_log
from .consent import with_newer_directory
from .datasets import DatasetRegistry, Registration
from .node_metrics import UPLOADS
from .policy import Policy
from .upload_request import UploadRequest
from .upload_store import RECEIVING, REGISTERED, REJECTED, Incoming, Kept, UploadStore, require_incoming

if TYPE_CHECKING:
    from .datasets.schema import DatasetSchema

log = logging.getLogger(__name__)

CLOSED = "upload.closed"
"""Event by which the coordination API tells that an upload was ended."""
ROLE = "explorer"
"""Of a membership: any person's of the project; whose files are taken is for the owner's policy to say."""
LOOK_AGAIN = 30.0
"""Seconds for which the API's word that an upload is open is believed, ..."""
PATIENCE = 600.0
"""... and for which it is while the API cannot be reached."""
MOST_OPEN = 16
"""Uploads of one sender that are under way."""
WORKERS = 2
RENEWAL, RETRY = 86400.0, 60.0
"""Seconds until the upload key is stated again, and after it could not be."""
_KEPT_KEYS = 64


@dataclass(frozen=True)
class _Opened:
    """What is needed to open an upload's chunks."""

    seal: bytes
    key: FileKey
    details: Details


class Uploads:
    """A node's part in uploads.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    identity : Identity
        The node's.
    policy : Policy
        Its owner's.
    datasets : DatasetRegistry
        Where files are registered.
    directory : callable
        Returns the directory of a project, under the domain key that was pinned.
    refresh : coroutine function
        Fetches the directories anew.
    fetch : coroutine function of str
        GETs a path of the coordination API.
    report : callable of (str, dict)
        Has a body PUT to a path of the API, sooner or later.
    registered : coroutine function
        Called when there is a new data set.
    require_trust : callable, optional
        Raises while the coordination API's audit log is found to be forked.
    """

    def __init__(
        self,
        home: Path,
        *,
        identity: Identity,
        policy: Policy,
        datasets: DatasetRegistry,
        directory: Callable[[str], Directory],
        refresh: Callable[[], Awaitable[None]],
        fetch: Callable[[str], Awaitable[dict[str, Any]]],
        report: Callable[[str, dict[str, Any]], None],
        registered: Callable[[], Awaitable[None]],
        require_trust: Callable[[], None] = lambda: None,
    ) -> None:
        self._identity, self._policy, self._datasets = identity, policy, datasets
        self._directory, self._refresh, self._fetch = directory, refresh, fetch
        self._report, self._registered, self._require_trust = report, registered, require_trust
        self.store = UploadStore(home / upload_log.FOLDER)
        self.key = UploadKey.load_or_create(home / "upload.key") if policy.takes_uploads else None
        self.quarantined: str | None = None
        """Why the node is in quarantine, None if it is not."""
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._looked: dict[str, float] = {}
        self._creating = asyncio.Lock()
        self._concluding: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[str] = set()
        self._working = ThreadPoolExecutor(WORKERS, thread_name_prefix="uploads")

    def routes(self) -> dict[str, Route]:
        """Return what this answers on the mesh."""
        answers = {
            "upload/open": self._on_open,
            "upload/state": self._on_state,
            "upload/finish": self._on_finish,
            "upload/abort": self._on_abort,
        }
        routes = {kind: Route(handler, role=ROLE, limit=0) for kind, handler in answers.items()}
        routes["upload/chunk"] = Route(self._on_chunk, role=ROLE, limit=LARGEST_CHUNK + CHUNK_OVERHEAD)
        return routes

    async def keep_stated(self, coordinator: Coordinator) -> None:
        """State the node's upload key to the coordination API, and again before the statement ends, until cancelled."""
        path = f"/v1/nodes/{self._identity.node_id}/upload-key"
        if self.key is not None:
            told = fingerprint(self._identity.node_id, self.key.public)
            log.info("files are taken from %d people; fingerprint of the key: %s", len(self._policy.uploads), told)
        while True:
            try:
                if self.key is not None:
                    await coordinator.put(path, self.key.state(self._identity, time.time()), retry_for=60)
                elif (await self._fetch(f"/v1/nodes/{self._identity.node_id}")).get("uploads"):
                    await coordinator.delete(path, retry_for=60)
                await asyncio.sleep(RENEWAL)
                await self.look()
            except FlaasError as error:
                log.error("the upload key could not be stated: %s", error)
                await asyncio.sleep(RETRY)

    async def look(self) -> None:
        """Take in what has changed while the coordination API was not heard: quarantine, uploads that were ended."""
        try:
            node = await self._fetch(f"/v1/nodes/{self._identity.node_id}")
        except FlaasError as error:
            log.warning("whether this node is in quarantine could not be asked: %s", error)
        else:
            self.quarantined = (node.get("quarantine_reason") or "no reason given") if node.get("quarantined") else None
        self._looked.clear()
        for incoming in await asyncio.to_thread(self.store.list):
            request = incoming.kept.request
            if incoming.kept.state == REGISTERED or request.upload in self._concluding:
                continue
            try:
                if await self._settled(incoming):
                    continue
                request.require_in_force(time.time())
                await self._require_open(request, incoming)
            except (NotAllowed, NotFound) as error:
                await self._forget(incoming, error.code)
            except FlaasError as error:
                log.warning("upload %s: %s", request.upload, error)

    async def on_event(self, event: Event) -> None:
        """Take in what the coordination API tells: quarantine of this node, uploads that were ended."""
        if event.node != self._identity.node_id:
            return
        if event.type == "node.quarantined":
            self.quarantined = str(event.data.get("reason") or "no reason given")
        elif event.type == "node.released":
            self.quarantined = None
        elif event.type == CLOSED:
            await self._on_closed(str(event.data.get("upload")))

    async def _on_closed(self, upload: str) -> None:
        self._looked.pop(upload, None)
        incoming = await asyncio.to_thread(self.store.find, upload)
        if incoming is None or incoming.kept.state == REGISTERED or upload in self._concluding:
            return
        try:
            await self._require_open(incoming.kept.request, incoming)
        except (NotAllowed, NotFound) as error:
            await self._forget(incoming, error.code)
        except FlaasError as error:
            log.warning("upload %s: %s", upload, error)

    async def close(self) -> None:
        """Stop; what is there is gone on with when the node starts again."""
        for task in list(self._concluding.values()):
            task.cancel()
        await asyncio.gather(*self._concluding.values(), return_exceptions=True)
        self._working.shutdown(wait=False, cancel_futures=True)

    # ---- what the sender asks -------------------------------------------------------------------------------------

    async def _on_open(self, peer: Peer, message: Message) -> Message:
        """Take on an upload, or go on with one; asked again, answer how far it is."""
        request = UploadRequest.parse(message.body.get("request"))
        if peer.node_id != request.sender:
            raise NotAllowed(
                f"The upload was signed by {request.sender[:12]}, not by {peer.node_id[:12]}.",
                code="upload-not-yours",
                hint="A file is sent by whoever has signed for it.",
            )
        known = await asyncio.to_thread(self.store.find, request.upload)
        if known is not None and known.kept.state == REGISTERED and known.kept.request.is_same(request):
            self._require_sender(known, peer)
            return self._told(known)  # the API has closed it; who asks again is told how it has ended
        try:
            incoming = await self._open(request, message.body.get("envelope"), known)
        except FlaasError as error:
            # What strangers try is for the log of the process: any member of the project could fill the disk with it.
            if request.sender in self._policy.for_dataset(request.dataset).uploads:
                self._note(request, "refused", error.code)
            else:
                log.debug("upload %s of %s: refused (%s)", request.upload, request.sender[:12], error.code)
            raise
        return self._told(incoming)

    async def _open(self, request: UploadRequest, envelope: object, known: Incoming | None) -> Incoming:
        if request.header.node != self._identity.node_id:
            raise InvalidInput(
                f"The upload is for node {request.header.node[:12]}, not for this one.",
                code="upload-elsewhere",
                hint="Send it to the node that it was sealed for.",
            )
        if not isinstance(envelope, bytes) or seal_digest(request.header, envelope).hex() != request.seal:
            raise NotAllowed(
                "The sender has signed for another envelope than this.",
                code="upload-altered",
                hint="Start the upload anew. If it happens again, the Jupyter server is not to be trusted.",
            )
        await self._require(request)
        self._looked.pop(request.upload, None)  # that was about another request
        await self._require_open(request, known)
        opened = await asyncio.to_thread(self._open_envelope, request.header, envelope)
        async with self._creating:
            known = known or await asyncio.to_thread(self.store.find, request.upload)
            if known is None:
                await asyncio.to_thread(self._require_few, request)
                await asyncio.to_thread(self._require_registrable, request, opened.details)
                known = await asyncio.to_thread(self.store.create, Kept(request, envelope))
                self._note(request, "accepted")
            elif not known.kept.request.is_same(request):
                raise Conflict(
                    f"The id {request.upload} is that of another upload.", code="upload-exists", hint="Start anew."
                )
            else:
                await asyncio.to_thread(known.renew, request)
        _keep(self._opened, request.upload, opened)
        return known

    async def _on_chunk(self, peer: Peer, message: Message) -> Message:
        """Take a chunk, if all that was checked when the upload was opened still holds."""
        incoming = await self._known(peer, message)
        chunk = message.tensors.get("chunk")
        if chunk is None or chunk.dtype.str != "|u1" or chunk.ndim != 1:
            raise InvalidInput("The message carries no chunk.", code="bad-upload")
        index: Any = message.body.get("index")
        header = incoming.header
        header.length_of(index)  # refuses what is no number
        if incoming.kept.state != REGISTERED and not incoming.have(index):
            opened = await self._opened_of(incoming)

            def take() -> None:
                piece = open_chunk(header, opened.seal, opened.key, index, chunk.data)
                incoming.write(index, piece)

            await asyncio.get_running_loop().run_in_executor(self._working, take)
        return Message("ok", {"received": incoming.received, "chunks": header.chunks})

    async def _on_state(self, peer: Peer, message: Message) -> Message:
        incoming = require_incoming(await self._find(message), message.body.get("upload"))
        self._require_sender(incoming, peer)
        return self._told(incoming)

    async def _on_finish(self, peer: Peer, message: Message) -> Message:
        """Begin to check and register a file that is there as a whole."""
        incoming = await self._known(peer, message)
        upload = incoming.header.upload
        if incoming.kept.state == REGISTERED or upload in self._concluding:
            return self._told(incoming)
        missing = incoming.header.chunks - incoming.received
        if missing:
            raise Conflict(
                f"{missing} of {incoming.header.chunks} chunks of upload {upload} are not there.",
                code="upload-incomplete",
                hint="Ask for the upload's state, and send those that are missing.",
            )
        opened = await self._opened_of(incoming)
        sealed = message.body.get("finish")
        finish = open_finish(opened.seal, opened.key, sealed if isinstance(sealed, bytes) else b"")
        if incoming.root() != finish.root:
            raise Conflict(
                f"What the chunks of upload {upload} are together is not the file that the sender has now.",
                code="upload-changed",
                hint="The file was changed while it was sent. Abort, and start anew.",
            )
        details = finish.details or opened.details
        await asyncio.to_thread(self._suffix_of, details)
        if upload in self._leaving:
            require_incoming(None, upload)
        if upload in self._concluding:
            return self._told(incoming)
        task = asyncio.create_task(self._conclude(incoming, opened, details))
        self._concluding[upload] = task
        task.add_done_callback(functools.partial(self._concluded, upload))
        return self._told(incoming)

    async def _on_abort(self, peer: Peer, message: Message) -> Message:
        incoming = await self._find(message)
        if incoming is not None:
            self._require_sender(incoming, peer)
            if incoming.kept.state == REGISTERED or not await self._forget(incoming, None):
                raise Conflict(
                    f"Upload {incoming.header.upload} is being registered, or is registered.",
                    code="upload-closed",
                    hint="The node's owner removes the data set.",
                )
        return Message("ok", {})

    # ---- is it in order -------------------------------------------------------------------------------------------

    async def _known(self, peer: Peer, message: Message) -> Incoming:
        """Return the upload that a message is about, with everything checked that may have changed since."""
        incoming = require_incoming(await self._find(message), message.body.get("upload"))
        self._require_sender(incoming, peer)
        if incoming.kept.state != REGISTERED:
            await self._require(incoming.kept.request)
            await self._require_open(incoming.kept.request, incoming)
        return incoming

    async def _find(self, message: Message) -> Incoming | None:
        upload = message.body.get("upload")
        if not isinstance(upload, str):
            raise InvalidInput("The message names no upload.", code="bad-upload")
        return self.store.known(upload) or await asyncio.to_thread(self.store.find, upload)

    def _require_sender(self, incoming: Incoming, peer: Peer) -> None:
        if incoming.kept.request.sender != peer.node_id:
            # As if there were none: what others send is nobody's business.
            require_incoming(None, incoming.header.upload)

    async def _require(self, request: UploadRequest) -> None:
        """Check whatever does not take the coordination API's word.

        Raises
        ------
        NotAllowed
            ``upload-expired``; ``node-quarantined``; ``unknown-peer``, ``role-missing``, ``membership-…`` of the
            sender or of this node; ``policy-…``.
        """
        request.require_in_force(time.time())
        if self.quarantined is not None:
            raise NotAllowed(
                f"This node is in quarantine: {self.quarantined}",
                code="node-quarantined",
                hint="Its organisation's operator lifts the quarantine; the upload goes on then.",
            )
        organisation = await self._require_members(request)
        self._require_trust()
        self._policy.check_upload(request.sender, organisation, request.project, request.dataset, request.header.size)

    async def _require_members(self, request: UploadRequest) -> str:
        directory = self._directory(request.project)

        async def require() -> str:
            directory.require(self._identity.node_id, "node")
            return directory.require(request.sender, ROLE).organisation

        return await with_newer_directory(require, self._refresh)

    async def _require_open(self, request: UploadRequest, incoming: Incoming | None) -> None:
        """Check that the coordination API says the same of the upload, and that it is open; its word lasts a while."""
        since = time.monotonic() - self._looked.get(request.upload, -PATIENCE)
        if since < LOOK_AGAIN:
            return
        try:
            record = await self._fetch(f"/v1/uploads/{request.upload}")
        except Unreachable:
            if since < PATIENCE and incoming is not None:
                return
            raise
        request.require_same(record)
        self._looked[request.upload] = time.monotonic()

    def _require_few(self, request: UploadRequest) -> None:
        theirs = [
            each
            for each in self.store.list()
            if each.kept.request.sender == request.sender and each.kept.state != REGISTERED
        ]
        if len(theirs) >= MOST_OPEN:
            raise Conflict(
                f"{len(theirs)} uploads of yours are under way at this node.",
                code="too-many-uploads",
                hint="Finish or abort some of them.",
            )

    def _require_registrable(self, request: UploadRequest, details: Details) -> None:
        """Refuse before anything is sent what could not be registered in the end."""
        self._suffix_of(details)
        try:
            self._schema_of(details)
        except InvalidInput as error:  # its message names a column, and the refusal is not sealed
            raise InvalidInput(
                "What is declared of the file's columns is no schema.",
                code="bad-schema",
                hint="Correct names, roles, types, units, ranges and categories, or declare nothing.",
            ) from error
        try:
            self._datasets.require_name(request.dataset)
        except Conflict as error:  # its message has the owner's path
            raise _exists(request.dataset) from error

    def _suffix_of(self, details: Details) -> str:
        from .formats import suffixes  # reads with pyarrow, which takes a while to import

        name = details.name.lower()
        fitting = [suffix for suffix in suffixes() if name.endswith(suffix)]
        if not fitting:
            raise InvalidInput(
                f"The end of the file's name tells no format; known are: {', '.join(suffixes())}.",
                code="unknown-data-format",
                hint="Choose a file of one of these formats.",
            )
        return max(fitting, key=len)

    def _schema_of(self, details: Details) -> DatasetSchema | None:
        if details.schema is None:
            return None
        from .datasets.schema import DatasetSchema

        return DatasetSchema.from_list(list(details.schema))

    # ---- opening and registering ----------------------------------------------------------------------------------

    def _open_envelope(self, header: Header, envelope: bytes) -> _Opened:
        if self.key is None:
            raise NotAllowed("This node takes no uploads.", code="policy-uploads", hint="Ask its owner.")
        key, details = open_envelope(header, self.key.private, envelope)
        return _Opened(seal_digest(header, envelope), key, details)

    async def _opened_of(self, incoming: Incoming) -> _Opened:
        known = self._opened.get(incoming.header.upload)
        if known is None:
            known = await asyncio.to_thread(self._open_envelope, incoming.header, incoming.kept.envelope)
        _keep(self._opened, incoming.header.upload, known)
        return known

    async def _conclude(self, incoming: Incoming, opened: _Opened, details: Details) -> None:
        loop, request = asyncio.get_running_loop(), incoming.kept.request
        receipt = await loop.run_in_executor(self._working, self._register, incoming, details)
        if receipt is None:
            log.error("upload %s: the disk does not have what was written; it is asked for again", request.upload)
            await asyncio.to_thread(incoming.settle, RECEIVING, None)
            return
        if receipt.state == REJECTED:
            sealed = seal_receipt(opened.seal, opened.key, receipt)
            await asyncio.to_thread(incoming.settle, REJECTED, sealed)
            code = str((receipt.problem or {}).get("code"))
            self._note(request, "rejected", code)
            return
        await self._settle(incoming, opened, receipt)

    async def _settle(self, incoming: Incoming, opened: _Opened, receipt: Receipt) -> None:
        """Write down, and tell, that an upload is a data set now."""
        request = incoming.kept.request
        sealed = seal_receipt(opened.seal, opened.key, receipt)
        await asyncio.to_thread(incoming.settle, REGISTERED, sealed)
        self._note(request, "registered")
        self._report(f"/v1/uploads/{request.upload}/outcome", {"outcome": "registered"})
        self._opened.pop(request.upload, None)
        self._looked.pop(request.upload, None)
        await self._registered()

    def _register(self, incoming: Incoming, details: Details) -> Receipt | None:
        """Read the file through and register it; None if it is not what was received."""
        request, suffix = incoming.kept.request, self._suffix_of(details)
        path = incoming.folder / f"data{suffix}"
        if not (incoming.folder / "part").exists():  # killed between registering and writing that down
            incoming.take_back(suffix)
            self._unregister(request.dataset, path)
        digest = incoming.digest()
        if digest is None:
            return None
        receipt = Receipt(REGISTERED, digest, request.header.size, request.dataset)
        path = incoming.publish(suffix)
        try:
            rows = self._add(request, path, details)
        except Exception as error:
            incoming.take_back(suffix)
            if not isinstance(error, FlaasError):
                log.exception("upload %s could not be registered", request.upload)
            return replace(receipt, state=REJECTED, problem=_problem(error, request.dataset, path, details.name))
        return replace(receipt, rows=rows)

    def _add(self, request: UploadRequest, path: Path, details: Details) -> int:
        dataset = self._datasets.add(
            request.dataset,
            path,
            details.target,
            (request.project,),
            classes=details.classes,
            id_column=details.id_column,
            raw=details.raw,
            schema=self._schema_of(details),
            by_operator=False,
        )
        return int(dataset.registration.rows)

    def _unregister(self, dataset: str, path: Path) -> None:
        for known in self._datasets.list():
            if known.name == dataset and Path(known.registration.path) == path.resolve():
                self._datasets.remove(dataset)

    def _concluded(self, upload: str, task: asyncio.Task[None]) -> None:
        self._concluding.pop(upload, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("upload %s could not be concluded", upload, exc_info=task.exception())

    async def _settled(self, incoming: Incoming) -> bool:
        """Tell whether an upload is a data set; settle it if the node was killed before it could write that down."""
        registration = await asyncio.to_thread(self._registration, incoming)
        if registration is None:
            return False
        request = incoming.kept.request
        if request.upload in self._concluding or incoming.kept.state == REGISTERED:
            return True
        try:
            opened = await self._opened_of(incoming)
            digest = await asyncio.to_thread(_digest, Path(registration.path))
        except (FlaasError, OSError) as error:  # the data set stays, whatever the sender can be told
            why = error.code if isinstance(error, FlaasError) else error.strerror
            log.warning("upload %s is registered, and its sender cannot be told: %s", request.upload, why)
            return True
        rows = int(registration.rows)
        receipt = Receipt(REGISTERED, digest, request.header.size, registration.name, rows=rows)
        if request.upload not in self._concluding and incoming.kept.state != REGISTERED:
            await self._settle(incoming, opened, receipt)
        return True

    def _registration(self, incoming: Incoming) -> Registration | None:
        """Return what is registered of an upload's folder, whatever it is called."""
        folder = incoming.folder.resolve()
        for known in self._datasets.list():
            if folder in Path(known.registration.path).parents:
                return known.registration
        return None

    async def _forget(self, incoming: Incoming, why: str | None) -> bool:
        """Remove an upload that will not be finished; tell whether it was, since a data set stays."""
        request = incoming.kept.request
        if await self._settled(incoming) or request.upload in self._concluding:
            return False
        self._leaving.add(request.upload)
        try:
            await asyncio.to_thread(self.store.remove, incoming)
        finally:
            self._leaving.discard(request.upload)
        self._opened.pop(request.upload, None)
        self._looked.pop(request.upload, None)
        self._note(request, "aborted", why)
        self._report(f"/v1/uploads/{request.upload}/outcome", {"outcome": "aborted"})
        return True

    # ---- what is told ---------------------------------------------------------------------------------------------

    def _told(self, incoming: Incoming) -> Message:
        """Return how far an upload is."""
        request, header = incoming.kept.request, incoming.header
        state = "checking" if header.upload in self._concluding else incoming.kept.state
        return Message(
            "ok",
            {
                "upload": header.upload,
                "project": request.project,
                "node": header.node,
                "dataset": request.dataset,
                "size": header.size,
                "chunk_size": header.chunk_size,
                "chunks": header.chunks,
                "received": incoming.received,
                "have": incoming.ranges(),
                "state": state,
                "receipt": incoming.kept.receipt if state != "checking" else None,
                "expires": request.expires,
            },
        )

    def _note(self, request: UploadRequest, outcome: str, reason: str | None = None) -> None:
        """Write down, for the owner, who has sent what and what became of it; nothing of the file itself."""
        told = "" if reason is None else f" ({reason})"
        UPLOADS.labels(outcome).inc()
        log.info(
            "upload %s of %s for data set %s, %d bytes: %s%s",
            request.upload, request.sender[:12], request.dataset, request.header.size, outcome, told,
        )  # fmt: skip
        try:
            upload_log.append(self.store.folder, request, outcome, reason)
        except OSError as error:
            log.error("the log of uploads cannot be written (%s)", error.strerror)


def _exists(dataset: str) -> Conflict:
    return Conflict(
        f"This node has a data set {dataset!r} already.",
        code="dataset-exists",
        hint="Abort, and choose another name, or have the node's owner remove that one.",
    )


def _problem(error: Exception, dataset: str, path: Path, name: str) -> dict[str, Any]:
    """Return what the sender is told: of their own file, not of where it lies at the node."""
    if isinstance(error, Conflict) and error.code == "dataset-exists":
        error = _exists(dataset)
    if isinstance(error, FlaasError):
        told = {"code": error.code, "message": error.message, "hint": error.hint}
        places = sorted({str(path), str(path.resolve())}, key=len, reverse=True)
        for place in places:
            told = {key: text.replace(place, name) for key, text in told.items()}
        return told
    return {
        "code": "upload-failed",
        "message": "The node failed to register the file.",
        "hint": "Its log says why; ask the node's owner.",
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(kept: OrderedDict[str, _Opened], upload: str, opened: _Opened) -> None:
    kept[upload] = opened
    kept.move_to_end(upload)
    while len(kept) > _KEPT_KEYS:
        kept.popitem(last=False)
