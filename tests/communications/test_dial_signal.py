"""What a node makes of a signal to connect back."""

from __future__ import annotations

import time

import pytest
from mesh_domain import DOMAIN, Domain

from flaas_jupyter.communications.carrier import Whereabouts
from flaas_jupyter.communications.coordinator import Event
from flaas_jupyter.communications.dial_signal import asked_back
from flaas_jupyter.communications.directory import Record
from flaas_jupyter.communications.identity import Identity

KEY = "ab" * 32
TOLD = "2026-01-01T12:00:00.000Z"
NOON = 1_767_268_800.0


def event(type: str = "mesh.dial", time: str = TOLD, **data: object) -> Event:
    return Event(1, type, time, DOMAIN, None, "cd" * 32, {"from": KEY, **data})


def test_a_signal_names_who_would_be_connected_to() -> None:
    assert asked_back(event(), NOON) == KEY
    assert asked_back(event(), NOON + 29) == KEY


@pytest.mark.parametrize(
    "told",
    [event(type="directory.changed"), event(time="yesterday"), event(**{"from": 7}), event(**{"from": None})],
    ids=["other", "time", "number", "nothing"],
)
def test_what_is_no_signal_is_passed_over(told: Event) -> None:
    assert asked_back(told, NOON) is None


def test_a_signal_that_nobody_waits_for_any_more_is_passed_over() -> None:
    assert asked_back(event(), NOON + 31) is None


def test_a_persons_whereabouts_come_with_the_signal_and_are_believed_as_far_as_they_are_signed(domain: Domain) -> None:
    kernel, stranger = Identity.generate(), Identity.generate()
    domain.admit(kernel.node_id, roles=("developer",))
    directory = domain.directory()
    now = int(time.time())

    def record(key: Identity, address: str, sequence: int, domain: str = DOMAIN) -> dict[str, object]:
        return Record(domain, key.node_id, (address,), (), (), sequence, now, now + 600).sign(key)

    directory.learn_record(record(kernel, "192.0.2.1:1", 2))
    assert directory.peer(kernel.node_id).whereabouts == Whereabouts(("192.0.2.1:1",))
    forged = record(kernel, "192.0.2.66:1", 3)
    forged["signature"] = "0" * 128
    for document in (forged, record(kernel, "192.0.2.66:1", 1), record(kernel, "192.0.2.66:1", 3, "other"), None):
        directory.learn_record(document)
        assert directory.peer(kernel.node_id).whereabouts == Whereabouts(("192.0.2.1:1",))
    directory.learn_record(record(stranger, "192.0.2.66:1", 1))
    assert stranger.node_id not in directory.members
