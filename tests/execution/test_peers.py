"""Peers by hand: a key is asked for once, pinned as it was shown, and stays out if its owner says so."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.communications.carrier import Whereabouts
from flaas_jupyter.communications.directory import Peer
from flaas_jupyter.errors import InvalidInput, NotAllowed, NotFound
from flaas_jupyter.execution import peers as module
from flaas_jupyter.execution.peers import PeerList, decide, listed
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.home import Home, write_private

OWN, NORTH, SOUTH = "0" * 64, "1" * 64, "2" * 64


def peer(node_id: str = NORTH, organisation: str = "north", roles: tuple[str, ...] = ("node",)) -> Peer:
    return Peer(node_id, organisation, roles, Whereabouts())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    home = Home(tmp_path)
    policy = Policy.default_toml().replace('\npeers = "signed"', '\npeers = "manual"')
    home.policy.write_text(policy)
    return home


def the_list(home: Home) -> PeerList:
    return PeerList(home.path / module.FILE, Policy.load(home.policy), OWN)


def code(peers: PeerList, who: Peer, domain: str = "credit") -> str | None:
    try:
        peers.admit(domain, who)
    except NotAllowed as error:
        return error.code
    return None


def test_a_new_key_waits_is_asked_about_once_and_works_when_it_is_accepted(home: Home) -> None:
    peers = the_list(home)
    assert code(peers, peer()) == "peer-awaits-owner"
    assert peers.notice("credit", [peer(), peer(OWN)]) == [peer()]
    assert peers.notice("credit", [peer(), peer(OWN)]) == [], "once"
    assert [(row["state"], row["node_id"]) for row in listed(home)] == [("waits", NORTH)]
    assert code(peers, peer()) == "peer-awaits-owner"
    decide(home, NORTH, accept=True)
    assert code(peers, peer()) is None, "while the node runs"
    assert listed(home)[0]["state"] == "accepted"
    assert code(the_list(home), peer()) is None, "after a restart"


def test_the_nodes_own_key_is_not_asked_about(home: Home) -> None:
    assert code(the_list(home), peer(OWN)) is None


def test_relays_are_not_asked_about(home: Home) -> None:
    assert the_list(home).notice("credit", [peer(roles=("relay",))]) == []
    assert listed(home) == []


def test_it_is_pinned_with_organisation_and_roles(home: Home) -> None:
    peers = the_list(home)
    peers.notice("credit", [peer(roles=("node",))])
    decide(home, NORTH, accept=True)
    for changed in (peer(roles=("node", "developer")), peer(organisation="south")):
        assert code(peers, changed) == "peer-awaits-owner"
        assert peers.notice("credit", [changed]) == [changed], "asked anew"
        assert listed(home)[0]["state"] == "waits"
        assert peers.notice("credit", [peer()]) == []
        assert code(peers, peer()) is None, "as it was accepted it is in"


def test_a_narrower_role_is_not_asked_about(home: Home) -> None:
    peers = the_list(home)
    peers.notice("credit", [peer(roles=("developer", "node"))])
    decide(home, NORTH, accept=True)
    assert peers.notice("credit", [peer()]) == []
    assert code(peers, peer()) is None


def test_each_project_is_asked_about(home: Home) -> None:
    peers = the_list(home)
    peers.notice("credit", [peer()])
    decide(home, NORTH, accept=True)
    assert code(peers, peer(), "fraud") == "peer-awaits-owner"


def test_refusing_wins_also_where_signatures_are_enough(home: Home) -> None:
    home.policy.write_text(Policy.default_toml())
    peers = the_list(home)
    assert peers.notice("credit", [peer()]) == []
    assert code(peers, peer()) is None
    assert listed(home)[0]["state"] == "signed"
    decide(home, NORTH, accept=False)
    assert code(peers, peer()) == "peer-refused"
    decide(home, NORTH, accept=True)
    assert code(peers, peer()) is None


def test_who_is_denied_in_the_policy_stays_out_whatever_was_accepted(home: Home) -> None:
    the_list(home).notice("credit", [peer()])
    decide(home, NORTH, accept=True)
    home.policy.write_text(home.policy.read_text().replace("deny_peers = []", f'deny_peers = ["{NORTH}"]'))
    assert code(the_list(home), peer()) == "peer-denied"
    assert listed(home)[0]["state"] == "denied"


def test_it_is_noticed_that_the_owner_has_answered(home: Home) -> None:
    peers = the_list(home)
    assert not peers.has_news()
    peers.notice("credit", [peer(), peer(SOUTH)])
    peers.has_news()
    assert not peers.has_news()
    decide(home, SOUTH, accept=True)
    assert peers.has_news()
    assert not peers.has_news()


def test_an_answer_that_comes_before_it_was_looked_for_is_noticed(home: Home) -> None:
    peers = the_list(home)
    peers.notice("credit", [peer()])
    decide(home, NORTH, accept=True)
    assert peers.has_news()
    assert not peers.has_news()
    assert not the_list(home).has_news(), "a node that starts goes by what was said before"


def test_a_key_that_was_not_seen_cannot_be_accepted(home: Home) -> None:
    with pytest.raises(NotFound, match="deny_peers"):
        decide(home, NORTH, accept=True)
    with pytest.raises(InvalidInput):
        decide(home, "north", accept=True)


@pytest.mark.parametrize("damage", ["", "[]", '{"version": 1, "peers": [{}]}', '{"version": 9, "peers": []}'])
def test_a_damaged_file_lets_nobody_in(home: Home, damage: str) -> None:
    (home.path / module.FILE).write_text(damage)
    with pytest.raises(InvalidInput, match="asked about every peer anew"):
        the_list(home)


def test_a_file_that_is_damaged_while_the_node_runs_changes_nothing_until_it_is_mended(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    peers, file = the_list(home), home.path / module.FILE
    peers.notice("credit", [peer()])
    decide(home, NORTH, accept=True)
    assert code(peers, peer()) is None
    assert peers.has_news()
    good = file.read_bytes()
    write_private(file, good[:-20])
    for _ in range(3):
        assert code(peers, peer()) is None, "who was accepted stays"
        assert code(peers, peer(SOUTH)) == "peer-awaits-owner"
        assert peers.notice("credit", [peer(), peer(SOUTH)]) == []
        assert not peers.has_news()
    assert file.read_bytes() == good[:-20], "it is the owner's to mend"
    [said] = caplog.messages
    assert "Restore it from a backup" in said
    write_private(file, good[:-21])
    code(peers, peer())
    assert len(caplog.messages) == 2, "once for each change of the file"
    write_private(file, good)
    assert peers.notice("credit", [peer(), peer(SOUTH)]) == [peer(SOUTH)]
    decide(home, NORTH, accept=False)
    assert code(peers, peer()) == "peer-refused"


def test_a_full_disk_ends_nothing_and_the_owner_is_asked_when_there_is_room(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peers = the_list(home)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(module, "write_private", full)
        assert peers.notice("credit", [peer()]) == []
    assert "No space left on device" in caplog.text
    assert code(peers, peer()) == "peer-awaits-owner"
    assert peers.notice("credit", [peer()]) == [peer()]
    assert [row["node_id"] for row in listed(home)] == [NORTH]


def test_the_file_is_private(home: Home) -> None:
    the_list(home).notice("credit", [peer()])
    assert (home.path / module.FILE).stat().st_mode & 0o077 == 0


def test_the_command(home: Home) -> None:
    the_list(home).notice("credit", [peer(), peer(SOUTH, "south")])
    run = CliRunner().invoke
    shown = run(main, ["node", "peers"])
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.output.splitlines()] == ["state", "waits", "waits"]
    assert run(main, ["node", "peers", "accept", NORTH]).exit_code == 0
    assert run(main, ["node", "peers", "refuse", SOUTH]).exit_code == 0
    rows = json.loads(run(main, ["node", "peers", "--json"]).output)
    assert {row["node_id"]: row["state"] for row in rows} == {NORTH: "accepted", SOUTH: "refused"}
    assert run(main, ["node", "peers", "accept", "9" * 64]).exit_code == 1


def test_it_is_for_the_node_and_not_for_a_data_set(home: Home) -> None:
    home.policy.write_text(home.policy.read_text() + '\n[policy.datasets.loans]\npeers = "signed"\n')
    with pytest.raises(InvalidInput, match=r"stands under \[policy\]"):
        Policy.load(home.policy)
