"""Fifty endpoints that all know each other, and what is left of that when a third of them dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mesh_domain import Domain

from flaas_jupyter.communications.identity import Identity

pytestmark = pytest.mark.long
COUNT, THIRDS = 50, 3
FORM_SECONDS = 30.0
PEER_TIMEOUT = 10.0


class Crowd:
    """A third of the endpoints, in a process that may die."""

    def __init__(self, identities: list[Identity], domain: Domain, carrier: str) -> None:
        self.identities, self._domain, self._carrier = identities, domain, carrier
        self.ids = [identity.node_id for identity in identities]
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("crowd_process.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, str(script)], **pipes)  # type: ignore[call-overload]
        self.tell(
            carrier=self._carrier,
            seeds=[identity.seed.hex() for identity in self.identities],
            domain=self._domain.name,
            domain_key=self._domain.key.node_id,
            peer_timeout=PEER_TIMEOUT,
        )

    def tell(self, **what: Any) -> None:
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        assert line, "the process ended"
        return dict(json.loads(line))

    def records(self) -> None:
        for record in self.answer()["records"]:
            self._domain.records[record["body"]["node_id"]] = record

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.communicate(timeout=60)


@pytest.fixture(params=["iroh", "tls"])
def crowds(request: pytest.FixtureRequest) -> Iterator[tuple[Domain, list[Crowd], float]]:
    domain = Domain()
    identities = [Identity.generate() for _ in range(COUNT)]
    for identity in identities:
        domain.admit(identity.node_id)
    began = time.monotonic()
    crowds = [Crowd(identities[third::THIRDS], domain, request.param) for third in range(THIRDS)]
    for crowd in crowds:
        crowd.records()
    yield domain, crowds, began
    for crowd in crowds:
        crowd.end()


def _tell_directory(domain: Domain, crowds: list[Crowd]) -> None:
    for crowd in crowds:
        crowd.tell(do="listing", listing=domain.listing())
    for crowd in crowds:
        assert crowd.answer()["done"]


def _all_call_all(crowds: list[Crowd]) -> int:
    """Have every endpoint call every other; return the number of calls."""
    everybody = [node_id for crowd in crowds for node_id in crowd.ids]
    for crowd in crowds:
        crowd.tell(do="greet", others=everybody)
    answers = [crowd.answer() for crowd in crowds]
    errors = [error for answer in answers for error in answer["errors"]]
    assert not errors, f"{len(errors)} calls failed: {errors[:3]}"
    return sum(answer["calls"] for answer in answers)


def test_fifty_endpoints_form_a_mesh_and_survive_the_loss_of_any_third(crowds: Any) -> None:
    domain, thirds, began = crowds
    _tell_directory(domain, thirds)
    assert _all_call_all(thirds) == COUNT * (COUNT - 1)
    seconds = time.monotonic() - began
    print(f"{COUNT} endpoints, processes included: {seconds:.1f} s")
    assert seconds < FORM_SECONDS
    for third in thirds:
        third.kill()
        others = [other for other in thirds if other is not third]
        assert _all_call_all(others) > 0
        deadline = time.monotonic() + 6 * PEER_TIMEOUT
        for other in others:
            while True:
                other.tell(do="lost")
                lost = other.answer()["lost"]
                if all(set(third.ids) <= set(gone) for gone in lost.values()):
                    break
                assert time.monotonic() < deadline, "that they are gone is not noticed"
                time.sleep(0.5)
        third.start()
        third.records()
        _tell_directory(domain, thirds)
        assert _all_call_all(thirds) == COUNT * (COUNT - 1), "the third is taken in again"
