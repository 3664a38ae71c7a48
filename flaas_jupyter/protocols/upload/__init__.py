"""A file sealed for one node, in pieces that may arrive in any order, more than once, and over whoever carries them.

The sender makes a fresh file key, and an *envelope*: HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256),
HKDF-SHA256, AES-256-GCM) of file key and details to the node's upload key, bound to the upload's `Header`. The file is
cut into chunks; each is sealed as in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015, section 7):
its place and whether it is the last stand in the nonce, and header and envelope are its associated data, so that
chunks which are cut, moved, repeated elsewhere or left out do not open. Every sealing draws a salt and so has a key of
its own: a chunk that is sealed once more after a reload, perhaps of a file that was changed, repeats no nonce.

At the end the sender says, sealed, what all chunks together are (`Finish`), and the node answers with a sealed
`Receipt`: whoever carries them learns neither hashes nor column names, and can forge neither.
"""

from .chunks import CHUNK_OVERHEAD, FileKey, Root, open_chunk, seal_chunk
from .envelope import Details, open_envelope, seal_digest, seal_envelope
from .header import LARGEST_CHUNK, SMALLEST_CHUNK, Header
from .notes import Finish, Receipt, open_finish, open_receipt, seal_finish, seal_receipt

__all__ = [
    "CHUNK_OVERHEAD",
    "LARGEST_CHUNK",
    "SMALLEST_CHUNK",
    "Details",
    "FileKey",
    "Finish",
    "Header",
    "Receipt",
    "Root",
    "open_chunk",
    "open_envelope",
    "open_finish",
    "open_receipt",
    "seal_chunk",
    "seal_digest",
    "seal_envelope",
    "seal_finish",
    "seal_receipt",
]
