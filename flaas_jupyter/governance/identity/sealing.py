"""What is found again without being stored: login names by a keyed index, secrets by their hash."""

from __future__ import annotations

import functools
import hashlib
import secrets
import unicodedata

from sqlalchemy.orm import Session

from ..confidentiality import Vault


@functools.cache
def default_vault() -> Vault:
    """Return this process's vault, by the key file, the environment or the KMS that is set up."""
    return Vault.load()


def login_index(session: Session, vault: Vault, login: str) -> str:
    """Return the keyed hash by which a login name is found and counted without being stored."""
    return vault.blind_index(session, "persons.login", normal_login(login))


def normal_login(login: str) -> str:
    """Return the one spelling that a login name is compared in: NFKC, no case, no space around it."""
    return unicodedata.normalize("NFKC", login).strip().casefold()


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret of 256 random bits; of less, a plain hash would be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def new_secret() -> str:
    """Return 256 random bits, in 43 characters."""
    return secrets.token_urlsafe(32)
