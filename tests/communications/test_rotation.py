"""A rotation is what both keys have signed, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import MEMBER, Identity, canonical
from flaas_jupyter.communications.rotation import Rotation, sign_rotation
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAuthenticated

OLD, NEW, OTHER = (Identity(letter * 32) for letter in (b"o", b"n", b"x"))
STATEMENT = sign_rotation(OLD, NEW, 1_790_000_000)


def test_both_keys_have_signed_it() -> None:
    assert Rotation.parse(STATEMENT) == Rotation(OLD.node_id, NEW.node_id, 1_790_000_000)


@pytest.mark.parametrize("which", ["old", "new"])
@pytest.mark.parametrize("signer", [OLD, NEW, OTHER], ids=["old", "new", "other"])
def test_neither_signs_for_the_other(which: str, signer: Identity) -> None:
    right = {"old": OLD, "new": NEW}[which]
    changed = copy.deepcopy(STATEMENT)
    changed["signatures"][which] = signer.sign("flaas/rotate/1", canonical(STATEMENT["body"])).hex()
    if signer is right:
        assert Rotation.parse(changed).old == OLD.node_id
    else:
        with pytest.raises(NotAuthenticated):
            Rotation.parse(changed)


def test_a_signature_for_something_else_is_none() -> None:
    changed = copy.deepcopy(STATEMENT)
    changed["signatures"]["old"] = OLD.sign(MEMBER, canonical(STATEMENT["body"])).hex()
    with pytest.raises(NotAuthenticated):
        Rotation.parse(changed)


def test_the_new_key_is_another() -> None:
    with pytest.raises(InvalidInput, match="the old one"):
        Rotation.parse(sign_rotation(OLD, OLD, 1))


@settings(deadline=None, derandomize=True)
@given(
    place=st.sampled_from(["body", "signatures", "old", "new", "time", "v", "of old", "of new"]),
    junk=st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2),
)
def test_whatever_is_changed_it_is_refused(place: str, junk: Any) -> None:
    changed = copy.deepcopy(STATEMENT)
    if place.startswith("of "):
        changed["signatures"][place[3:]] = junk
    elif place in changed:
        changed[place] = junk
    else:
        changed["body"][place] = junk
    if changed == STATEMENT and type(junk) is not bool:
        return
    with pytest.raises(FlaasError):
        Rotation.parse(changed)
