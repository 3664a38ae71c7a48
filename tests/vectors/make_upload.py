"""Make ``upload.json``, the vectors by which Python and TypeScript agree on sealed uploads.

HPKE is written out here from RFC 9180, with the ephemeral key given, so that the same seed gives the same file and the
library that the package seals with is checked against a second implementation. Run it from the repository's root:
``python tests/vectors/make_upload.py``; `tests/protocols/upload/test_upload_vectors.py` fails if the file is another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flaas_jupyter.communications.directory import Membership, sign_membership
from flaas_jupyter.communications.identity import Identity, canonical
from flaas_jupyter.communications.upload_key import UploadKey, fingerprint
from flaas_jupyter.protocols.upload import (
    Details,
    FileKey,
    Finish,
    Header,
    Receipt,
    Root,
    seal_chunk,
    seal_digest,
    seal_finish,
    seal_receipt,
)
from flaas_jupyter.protocols.upload.envelope import INFO

FILE = Path(__file__).with_name("upload.json")
NOW = 1_795_694_400  # 2026-11-26T12:00:00Z
_KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")
_SUITE = b"HPKE" + (0x0020).to_bytes(2, "big") + (0x0001).to_bytes(2, "big") + (0x0002).to_bytes(2, "big")


def drawn(name: str, length: int) -> bytes:
    """Return bytes that are the same each time."""
    return hashlib.shake_256(b"flaas upload vectors 1 " + name.encode()).digest(length)


def hpke_seal(
    public: bytes, ephemeral: bytes, info: bytes, plaintext: bytes, suite: bytes = _SUITE
) -> dict[str, bytes]:
    """Single-shot seal in base mode with no associated data (RFC 9180, sections 4 to 6)."""
    secret = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = secret.public_key().public_bytes_raw()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    dh = secret.exchange(X25519PublicKey.from_public_bytes(public))
    shared = _expand(_KEM_SUITE, _extract(_KEM_SUITE, b"", b"eae_prk", dh), b"shared_secret", enc + public, 32)
    context = b"\x00" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret_of = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, secret_of, b"key", context, 16 if suite.endswith(b"\x01") else 32)
    nonce = _expand(suite, secret_of, b"base_nonce", context, 12)
    return {
        "enc": enc,
        "shared_secret": shared,
        "key": key,
        "nonce": nonce,
        "ct": AESGCM(key).encrypt(nonce, plaintext, b""),
    }


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, info + b"\x01", "sha256")[:length]


def make() -> dict[str, Any]:
    """Return the vectors as JSON values; bytes are in hex."""
    domain, node = Identity(drawn("domain", 32)), Identity(drawn("node", 32))
    upload_key = UploadKey(X25519PrivateKey.from_private_bytes(drawn("upload key", 32)))
    statement = upload_key.state(node, NOW)
    membership = sign_membership(
        domain,
        Membership("credit", node.node_id, "clínica-a", ("node",), NOW - 86400, NOW + 365 * 86400, 7),
    )
    header = Header(drawn("upload", 16).hex(), node.node_id, 2 * 4096 + 1000, 4096)
    key = FileKey(drawn("file key", 32))
    details = Details("pacientes año.csv", target="default", classes=2, schema=({"name": "age", "unit": "years"},))
    sealed = hpke_seal(
        bytes.fromhex(upload_key.public), drawn("ephemeral", 32), INFO + header.pack(), key.raw + details.to_json()
    )
    envelope = sealed["enc"] + sealed["ct"]
    seal = seal_digest(header, envelope)
    file = drawn("file", header.size)
    root, chunks = Root(), []
    for index in range(header.chunks):
        piece = file[index * header.chunk_size :][: header.chunk_size]
        salt = drawn(f"salt {index}", 16)
        root.add(hashlib.sha256(piece).digest())
        chunks.append(
            {
                "index": index,
                "last": index == header.chunks - 1,
                "salt": salt.hex(),
                "nonce": (bytes(7) + index.to_bytes(4, "big") + bytes([index == header.chunks - 1])).hex(),
                "sha256": hashlib.sha256(piece).hexdigest(),
                "sealed": seal_chunk(header, seal, key, index, piece, salt=salt).hex(),
            }
        )
    whole = hashlib.sha256(file).hexdigest()
    other = Details("pacientes año.csv", target="paid")
    registered = Receipt("registered", whole, header.size, "loans", rows=120)
    rejected = Receipt(
        "rejected",
        whole,
        header.size,
        "loans",
        problem={"code": "no-target", "message": "There is no column 'paid'.", "hint": "Choose one that is there."},
    )
    return {
        "description": "Sealed uploads, version 1: docs/protocols/upload.md. Made by tests/vectors/make_upload.py.",
        "now": NOW,
        "domain": {"id": "credit", "key": domain.node_id},
        "node": {
            "id": node.node_id, "upload_key": upload_key.public, "upload_key_private": drawn("upload key", 32).hex()
        },
        "fingerprint": fingerprint(node.node_id, upload_key.public),
        "statement": statement,
        "statement_signed_text": canonical(statement["body"]).decode(),
        "statement_signed_bytes": (b"flaas/upload-key/1\x00" + canonical(statement["body"])).hex(),
        "membership": membership,
        "membership_signed_bytes": (b"flaas/member/1\x00" + canonical(membership["body"])).hex(),
        "header": {
            "upload": header.upload, "node": header.node, "size": header.size, "chunk_size": header.chunk_size,
            "chunks": header.chunks, "packed": header.pack().hex(),
        },
        "file": file.hex(),
        "file_sha256": whole,
        "file_key": key.raw.hex(),
        "details": json.loads(details.to_json()),
        "details_padded": details.to_json().hex(),
        "hpke": {
            "ephemeral_private": drawn("ephemeral", 32).hex(),
            "info": (INFO + header.pack()).hex(),
            **{name: value.hex() for name, value in sealed.items()},
        },
        "envelope": envelope.hex(),
        "seal": seal.hex(),
        "chunks": chunks,
        "root": root.digest().hex(),
        "finish": [
            {
                "salt": drawn(f"finish {number}", 16).hex(),
                "details": None if each is None else json.loads(each.to_json()),
                "plaintext": (root.digest() + (b"" if each is None else each.to_json())).hex(),
                "sealed": seal_finish(seal, key, Finish(root.digest(), each), salt=drawn(f"finish {number}", 16)).hex(),
            }
            for number, each in enumerate((None, other))
        ],
        "receipts": [
            {
                "salt": drawn(f"receipt {number}", 16).hex(),
                "body": each.__dict__,
                "sealed": seal_receipt(seal, key, each, salt=drawn(f"receipt {number}", 16)).hex(),
            }
            for number, each in enumerate((registered, rejected))
        ],
        "refused": _refused(header, seal, key, envelope, file),
    }  # fmt: skip


def _refused(header: Header, seal: bytes, key: FileKey, envelope: bytes, file: bytes) -> list[dict[str, Any]]:
    """Return what must not open, each as chunk `index` of the upload."""
    first, last = file[: header.chunk_size], file[2 * header.chunk_size :]
    good = seal_chunk(header, seal, key, 0, first, salt=drawn("refused", 16))
    flipped = bytearray(good)
    flipped[100] ^= 1
    longer = Header(header.upload, header.node, header.size + header.chunk_size, header.chunk_size)
    elsewhere = Header(drawn("another upload", 16).hex(), header.node, header.size, header.chunk_size)
    as_middle = seal_chunk(longer, seal, key, 2, file[: header.chunk_size], salt=drawn("middle", 16))
    of_another = seal_chunk(header, seal_digest(elsewhere, envelope), key, 0, first, salt=drawn("other", 16))
    return [
        {"why": "moved to another place", "index": 1, "sealed": good.hex()},
        {"why": "one bit changed", "index": 0, "sealed": bytes(flipped).hex()},
        {"why": "its salt changed", "index": 0, "sealed": (bytes([good[0] ^ 1]) + good[1:]).hex()},
        {"why": "cut", "index": 0, "sealed": good[:-1].hex()},
        {"why": "the last chunk in the first one's place", "index": 0,
         "sealed": seal_chunk(header, seal, key, 2, last, salt=drawn("last", 16)).hex()},
        {"why": "a middle chunk as the last", "index": 2, "sealed": as_middle.hex()},
        {"why": "of another upload", "index": 0, "sealed": of_another.hex()},
        {"why": "beyond the end", "index": 3, "sealed": good.hex()},
    ]  # fmt: skip


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1, ensure_ascii=False) + "\n")
