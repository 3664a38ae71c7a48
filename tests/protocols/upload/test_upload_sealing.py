"""Sealed uploads as a specification: what opens, and what does not."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.protocols.upload import (
    CHUNK_OVERHEAD,
    LARGEST_CHUNK,
    Details,
    FileKey,
    Finish,
    Header,
    Receipt,
    open_chunk,
    open_envelope,
    open_finish,
    open_receipt,
    seal_chunk,
    seal_digest,
    seal_envelope,
    seal_finish,
    seal_receipt,
)

PRIVATE = X25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
HEADER = Header("ab" * 16, "cd" * 32, 10_000, 4096)
KEY = FileKey(b"f" * 32)
ENVELOPE = seal_envelope(HEADER, PUBLIC, KEY, Details("loans.csv", target="paid"))
SEAL = seal_digest(HEADER, ENVELOPE)


def code(call, *args):
    with pytest.raises(FlaasError) as caught:
        call(*args)
    assert caught.value.hint or caught.value.code == "bad-document"
    return caught.value.code


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 40_000), chunk_size=st.integers(4096, 9000), seed=st.integers(0, 9))
def test_every_file_comes_out_as_it_went_in(size, chunk_size, seed):
    file = hashlib.shake_256(bytes([seed])).digest(size)
    header = Header("ab" * 16, "cd" * 32, size, chunk_size)
    pieces = [file[index * chunk_size :][:chunk_size] for index in range(header.chunks)]
    assert sum(map(len, pieces)) == size
    sealed = [seal_chunk(header, SEAL, KEY, index, piece) for index, piece in enumerate(pieces)]
    assert [len(chunk) for chunk in sealed] == [len(piece) + CHUNK_OVERHEAD for piece in pieces]
    assert b"".join(open_chunk(header, SEAL, KEY, index, chunk) for index, chunk in enumerate(sealed)) == file


def test_a_chunk_that_is_sealed_again_has_another_key():
    first, again = (seal_chunk(HEADER, SEAL, KEY, 0, bytes(4096)) for _ in range(2))
    assert first[:16] != again[:16]
    assert first[16:32] != again[16:32], "with the same key and nonce, equal pieces would look the same"


@settings(deadline=None, max_examples=60)
@given(where=st.integers(0, 4096 + CHUNK_OVERHEAD - 1), bit=st.integers(0, 7))
def test_no_changed_bit_passes(where, bit):
    sealed = bytearray(seal_chunk(HEADER, SEAL, KEY, 1, bytes(4096)))
    sealed[where] ^= 1 << bit
    assert code(open_chunk, HEADER, SEAL, KEY, 1, bytes(sealed)) == "chunk-refused"


def test_chunks_of_another_size_of_file_do_not_pass():
    """Whoever cuts a file short, or says that it is longer, changes the header, and with it everything."""
    sealed = seal_chunk(HEADER, SEAL, KEY, 0, bytes(4096))
    for changes in ({"size": 9999}, {"chunk_size": 4100}, {"upload": "ac" * 16}, {"node": "ce" * 32}):
        other = dataclasses.replace(HEADER, **changes)
        assert code(open_envelope, other, PRIVATE, ENVELOPE) == "upload-unreadable"
        assert code(open_chunk, HEADER, seal_digest(other, ENVELOPE), KEY, 0, sealed) == "chunk-refused"


@pytest.mark.parametrize("envelope", [b"", b"x", bytes(32), bytes(300), b"\x01" + bytes(299), b"\xff" * 300])
def test_envelopes_that_are_none_do_not_open(envelope):
    assert code(open_envelope, HEADER, PRIVATE, envelope) == "upload-unreadable"


def test_the_details_say_nothing_by_their_length():
    short, longer = (
        seal_envelope(HEADER, PUBLIC, KEY, Details(name)) for name in ("a.csv", "a-much-longer-name-of-a-file.csv")
    )
    assert len(short) == len(longer)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{", b'{"v":2,"name":"a.csv"}', b'{"v":1}', b'{"v":1,"name":""}', b'{"v":1,"name":7}',
        b'{"v":1,"name":"a.csv","classes":true}', b'{"v":1,"name":"a.csv","classes":0}',
        b'{"v":1,"name":"a.csv","raw":1}', b'{"v":1,"name":"a.csv","schema":[1]}', b'{"v":1,"name":"a.csv","path":"/"}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_details_that_are_none_are_refused(raw):
    assert code(Details.from_json, raw) == "bad-upload"


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0}, {"size": -1}, {"size": 1 << 63}, {"size": True}, {"size": 1.0}, {"chunk_size": 4095},
        {"chunk_size": LARGEST_CHUNK + 1}, {"upload": "AB" * 16}, {"upload": "../.." + "a" * 27}, {"node": "ab"},
        {"size": 1 << 62}, {"size": 65_537 * 4096},
    ],
)  # fmt: skip
def test_headers_that_are_none_are_refused(changes):
    assert code(lambda: dataclasses.replace(HEADER, **changes)) == "bad-upload"


def test_packed_headers_are_read_or_refused():
    assert Header.unpack(HEADER.pack()) == HEADER
    for raw in (
        b"",
        HEADER.pack()[:-1],
        HEADER.pack() + b"x",
        b"X" + HEADER.pack()[1:],
        HEADER.pack()[:-12] + bytes(12),
    ):
        assert code(Header.unpack, raw) == "bad-upload"


def test_notes_cannot_be_swapped_or_changed():
    finish = seal_finish(SEAL, KEY, Finish(b"r" * 32))
    receipt = seal_receipt(SEAL, KEY, Receipt("registered", "00" * 32, 10_000, "loans", 7))
    assert open_finish(SEAL, KEY, finish) == Finish(b"r" * 32)
    assert open_receipt(SEAL, KEY, receipt).rows == 7
    assert code(open_receipt, SEAL, KEY, finish) == "upload-unreadable"
    assert code(open_finish, SEAL, KEY, receipt) == "upload-unreadable"
    assert code(open_receipt, SEAL, FileKey(), receipt) == "upload-unreadable"
    assert code(open_receipt, b"s" * 32, KEY, receipt) == "upload-unreadable"
    assert code(open_finish, SEAL, KEY, b"") == "bad-upload"


def test_no_key_shows():
    assert KEY.raw.hex() not in repr(KEY)
    assert repr(KEY) == "FileKey()"
