"""The vectors that Python and TypeScript share, and the library's HPKE against RFC 9180 written out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from flaas_jupyter.communications.directory import Membership
from flaas_jupyter.communications.upload_key import UploadKeyStatement
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.protocols.upload import (
    Header,
    open_chunk,
    open_envelope,
    open_finish,
    open_receipt,
    seal_digest,
)

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS = json.loads((FOLDER / "upload.json").read_text())
HEADER = Header.unpack(bytes.fromhex(VECTORS["header"]["packed"]))
ENVELOPE, SEAL = bytes.fromhex(VECTORS["envelope"]), bytes.fromhex(VECTORS["seal"])
PRIVATE = X25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["node"]["upload_key_private"]))


@pytest.fixture(scope="module")
def make_upload():
    sys.path.insert(0, str(FOLDER))
    try:
        import make_upload

        yield make_upload
    finally:
        sys.path.remove(str(FOLDER))


def test_the_file_is_what_its_script_makes(make_upload):
    assert json.loads(json.dumps(make_upload.make())) == VECTORS


def test_hpke_as_written_out_is_that_of_the_rfc(make_upload):
    """RFC 9180, appendix A.1.1, which differs from what is used here in the length of the AES key only."""
    suite = b"HPKE" + bytes.fromhex("002000010001")
    sealed = make_upload.hpke_seal(
        bytes.fromhex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"),
        bytes.fromhex("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736"),
        bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"),
        b"",
        suite,
    )
    assert sealed["enc"].hex() == "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"
    assert sealed["shared_secret"].hex() == "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
    assert sealed["key"].hex() == "4531685d41d65f03dc48f6b8302c05b0"
    assert sealed["nonce"].hex() == "56d890e5accaaf011cff4b7d"


def test_the_envelope_opens_with_the_nodes_key_alone():
    key, details = open_envelope(HEADER, PRIVATE, ENVELOPE)
    assert key.raw.hex() == VECTORS["file_key"]
    assert (details.name, details.target, details.classes) == ("pacientes año.csv", "default", 2)
    assert seal_digest(HEADER, ENVELOPE) == SEAL
    with pytest.raises(FlaasError) as caught:
        open_envelope(HEADER, X25519PrivateKey.generate(), ENVELOPE)
    assert caught.value.code == "upload-unreadable"


def test_chunks_open_in_any_order_and_make_the_file():
    key, _ = open_envelope(HEADER, PRIVATE, ENVELOPE)
    pieces = {
        chunk["index"]: open_chunk(HEADER, SEAL, key, chunk["index"], bytes.fromhex(chunk["sealed"]))
        for chunk in reversed(VECTORS["chunks"])
    }
    assert b"".join(pieces[index] for index in sorted(pieces)).hex() == VECTORS["file"]


@pytest.mark.parametrize("refused", VECTORS["refused"], ids=lambda refused: refused["why"])
def test_what_is_not_that_chunk_does_not_open(refused):
    key, _ = open_envelope(HEADER, PRIVATE, ENVELOPE)
    with pytest.raises(FlaasError) as caught:
        open_chunk(HEADER, SEAL, key, refused["index"], bytes.fromhex(refused["sealed"]))
    assert caught.value.code in ("chunk-refused", "chunk-length", "no-such-chunk")


def test_the_notes_at_the_end_open():
    key, details = open_envelope(HEADER, PRIVATE, ENVELOPE)
    plain, other = (open_finish(SEAL, key, bytes.fromhex(each["sealed"])) for each in VECTORS["finish"])
    assert (plain.root.hex(), plain.details) == (VECTORS["root"], None)
    assert other.details is not None
    assert (other.details.target, details.target) == ("paid", "default")
    registered, rejected = (open_receipt(SEAL, key, bytes.fromhex(each["sealed"])) for each in VECTORS["receipts"])
    assert (registered.state, registered.sha256) == ("registered", VECTORS["file_sha256"])
    assert rejected.problem is not None
    assert rejected.problem["code"] == "no-target"


def test_statement_and_membership_verify():
    statement = UploadKeyStatement.parse(VECTORS["statement"])
    statement.require_in_force(VECTORS["now"])
    assert (statement.node, statement.key) == (VECTORS["node"]["id"], VECTORS["node"]["upload_key"])
    assert statement.fingerprint == VECTORS["fingerprint"]
    membership = Membership.parse(VECTORS["membership"], VECTORS["domain"]["key"])
    assert (membership.node_id, membership.roles) == (VECTORS["node"]["id"], ("node",))
