"""What the panel is told of simulations on this machine, and what it may do with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote

import pytest
from flaas_server.processes import is_alive
from flaas_server.simulations import PAGE_BYTES, Simulations
from tornado.httpclient import HTTPClientError

from .simulation_files import append, header, report, write

DEAD = 2**22 + 1  # above the largest number that Linux gives


@pytest.fixture
def ask(jp_fetch):
    """Fetch under ``flaas/simulations``; the answer's JSON."""

    async def fetch(*path: str, **options):
        response = await jp_fetch("flaas", "simulations", *path, **options)
        return json.loads(response.body) if response.body else None

    return fetch


async def refusal(asked) -> dict:
    with pytest.raises(HTTPClientError) as caught:
        await asked
    assert caught.value.response.headers["Content-Type"] == "application/problem+json"
    return json.loads(caught.value.response.body)


# ---- the list ------------------------------------------------------------------------------------------------


async def test_the_list_has_the_newest_first_without_their_clients(ask, flaas_home):
    write(flaas_home, header("sim-b", created="2026-02-01T00:00:00+00:00", state="completed"))
    write(flaas_home, header("sim-a", created="2026-03-01T00:00:00+00:00"))
    write(flaas_home, header("sim-c", created="2026-01-01T00:00:00+00:00", state="failed"))

    answer = await ask()

    assert [(each["id"], each["state"]) for each in answer["simulations"]] == [
        ("sim-a", "running"), ("sim-b", "completed"), ("sim-c", "failed"),
    ]  # fmt: skip
    assert all("clients" not in each for each in answer["simulations"])
    assert {(each["client_count"], each["attacker_count"]) for each in answer["simulations"]} == {(10, 3)}
    capped = await ask(params={"limit": "2"})
    assert ([each["id"] for each in capped["simulations"]], capped["total"]) == (["sim-a", "sim-b"], 3)


async def test_without_a_folder_the_list_is_empty(ask):
    assert await ask() == {"simulations": [], "total": 0}


async def test_what_is_no_simulation_is_not_listed(ask, flaas_home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, header("sim-x"))
    folder = write(flaas_home, header("sim-a")).parent
    (folder / "linked").symlink_to(elsewhere / "simulations" / "sim-x")
    (folder / "file").write_text("{}")
    (folder / ".hidden").mkdir()
    (folder / "no-header").mkdir()
    write(flaas_home, header("broken"))
    (folder / "broken" / "simulation.json").write_text('{"id": ')
    write(flaas_home, header("linked-header"))
    (folder / "linked-header" / "simulation.json").unlink()
    (folder / "linked-header" / "simulation.json").symlink_to(elsewhere / "simulations" / "sim-x" / "simulation.json")
    write(flaas_home, header("pipe"))
    (folder / "pipe" / "simulation.json").unlink()
    os.mkfifo(folder / "pipe" / "simulation.json")

    assert [each["id"] for each in (await ask())["simulations"]] == ["sim-a"]


async def test_a_header_that_changes_shows_at_once(ask, flaas_home):
    write(flaas_home, header("sim-a", round=2))
    assert (await ask())["simulations"][0]["round"] == 2

    write(flaas_home, header("sim-a", round=12345))

    assert (await ask())["simulations"][0]["round"] == 12345


# ---- one simulation ------------------------------------------------------------------------------------------


async def test_a_simulation_has_everything_in_its_header(ask, flaas_home):
    body = header("sim-a", aggregation_options={"clip": float("inf")})
    write(flaas_home, body)

    answer = await ask("sim-a")

    extra = {"client_count": 10, "attacker_count": 3, "stopping": False, "aggregation_options": {"clip": None}}
    assert answer == {**body, **extra}


async def test_a_simulation_whose_process_is_gone_is_interrupted(ask, flaas_home):
    write(flaas_home, header("sim-a", pid=DEAD))
    write(flaas_home, header("sim-b", pid=DEAD, state="completed"))
    write(flaas_home, header("sim-c", pid=None))
    write(flaas_home, header("sim-d", pid=DEAD, host="another-machine"))

    states = {each["id"]: each["state"] for each in (await ask())["simulations"]}

    assert states == {"sim-a": "interrupted", "sim-b": "completed", "sim-c": "interrupted", "sim-d": "running"}


def test_a_process_is_alive_until_it_ends_even_if_nobody_looked():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_alive(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
        assert not is_alive(process.pid)
    assert not is_alive(process.pid)


def test_a_number_that_another_process_has_by_now_is_not_the_same_process(tmp_path):
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / str(os.getpid())).mkdir()
    fields = ["S", *["0"] * 18, str(500 * ticks)]
    (tmp_path / str(os.getpid()) / "stat").write_text(f"1 (odd) name)) {' '.join(fields)}")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\n")

    assert is_alive(os.getpid(), seen=1600.0, proc=tmp_path)
    assert not is_alive(os.getpid(), seen=1400.0, proc=tmp_path)


@pytest.mark.parametrize(
    "name", ["..", ".", "../sim-a", "..%2fsim-a", "a/../sim-a", ".hidden", "sim a", "sim-a\x00", "x" * 129]
)
@pytest.mark.parametrize(("end", "method"), [("", "GET"), ("", "DELETE"), ("/rounds", "GET"), ("/stop", "POST")])
async def test_an_id_cannot_lead_elsewhere(
    http_server_client, jp_base_url, jp_auth_header, flaas_home, name, end, method
):
    inside = write(flaas_home, header("sim-a", state="completed"))
    (flaas_home / "simulation.json").write_text(json.dumps(header("home", state="completed")))

    response = await http_server_client.fetch(
        f"{jp_base_url}flaas/simulations/{quote(name, safe='%')}{end}",
        method=method,
        headers=jp_auth_header,
        body="" if method == "POST" else None,
        raise_error=False,
    )

    assert response.code == 404
    assert response.headers["Content-Type"].startswith("application/problem+json") or name in {"..", "."}
    assert inside.exists()
    assert flaas_home.exists()


async def test_a_linked_folder_is_no_simulation(ask, flaas_home, tmp_path):
    target = write(tmp_path / "elsewhere", header("sim-x", state="completed"), [report(1)])
    (flaas_home / "simulations").mkdir(parents=True)
    (flaas_home / "simulations" / "sim-x").symlink_to(target)

    for path, method in [(["sim-x"], "GET"), (["sim-x", "rounds"], "GET"), (["sim-x"], "DELETE")]:
        assert (await refusal(ask(*path, method=method)))["code"] == "unknown-simulation"
    assert (target / "rounds.jsonl").exists()


# ---- rounds --------------------------------------------------------------------------------------------------


async def test_rounds_come_in_columns(ask, flaas_home):
    clients = [
        {"node": "a", "examples": 60, "weight": 0.25, "columns": {"votes": 2.5, "kept": True, "why": "near"}},
        {"node": "b", "examples": 30, "weight": float("nan"), "columns": {}},
        {"node": "c", "examples": 10, "weight": 0.5, "columns": {"reputation": 0.9, "votes": 1}},
    ]
    write(flaas_home, header("sim-a"), [{**report(1), "clients": clients}, {**report(2), "clients": clients[::2]}])

    answer = await ask("sim-a", "rounds")

    assert answer["nodes"] == ["a", "b", "c"]
    assert answer["rounds"][0]["clients"] == {
        "node": [0, 1, 2],
        "columns": {
            "examples": [60, 30, 10], "weight": [0.25, None, 0.5], "votes": [2.5, None, 1], "kept": [1, None, None],
            "reputation": [None, None, 0.9],
        },
    }  # fmt: skip
    assert answer["rounds"][1]["clients"]["node"] == [0, 2]
    assert answer["rounds"][0]["metrics"] == {"loss": 1.0, "val_attack_success_rate": 0.5}
    assert (answer["after"], answer["total"]) == (2, 2)
    assert answer["simulation"]["state"] == "running"
    assert "clients" not in answer["simulation"]


async def test_rounds_go_on_where_the_reader_is(ask, flaas_home):
    folder = write(flaas_home, header("sim-a"), [report(n) for n in range(1, 6)])

    first = await ask("sim-a", "rounds", params={"limit": "2"})
    second = await ask("sim-a", "rounds", params={"after": str(first["after"])})
    append(folder, [report(6)])
    third = await ask("sim-a", "rounds", params={"after": str(second["after"])})
    last = await ask("sim-a", "rounds", params={"after": str(third["after"])})

    numbers = [[each["number"] for each in answer["rounds"]] for answer in (first, second, third, last)]
    assert numbers == [[1, 2], [3, 4, 5], [6], []]
    assert [each["total"] for each in (first, third)] == [5, 6]
    assert len({each["journal"] for each in (first, second, third, last)}) == 1


async def test_a_half_written_line_waits_until_it_is_whole(ask, flaas_home):
    folder = write(flaas_home, header("sim-a"), [report(1)])
    line = json.dumps(report(2)) + "\n"
    with (folder / "rounds.jsonl").open("a") as file:
        file.write(line[:40])
    assert [each["number"] for each in (await ask("sim-a", "rounds"))["rounds"]] == [1]

    with (folder / "rounds.jsonl").open("a") as file:
        file.write(line[40:])

    assert [each["number"] for each in (await ask("sim-a", "rounds", params={"after": "1"}))["rounds"]] == [2]


async def test_a_line_that_is_no_report_is_left_out(ask, flaas_home):
    folder = write(flaas_home, header("sim-a"), [report(1)])
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"number": 2, "cli{"number": 2}\n\n[]\n')
    append(folder, [report(3)])

    answer = await ask("sim-a", "rounds")

    assert [each["number"] for each in answer["rounds"]] == [1, 3]
    assert answer["after"] == answer["total"] == 5


@pytest.mark.parametrize("in_place", [True, False], ids=["cut-back", "replaced"])
async def test_a_reader_is_told_when_rounds_were_made_again(ask, flaas_home, in_place):
    folder = write(flaas_home, header("sim-a"), [report(n) for n in range(1, 5)])
    before = await ask("sim-a", "rounds")
    path = folder / "rounds.jsonl"
    kept = path.read_bytes().splitlines(keepends=True)[:2]
    if in_place:
        os.truncate(path, len(b"".join(kept)))
    else:
        path.with_suffix(".new").write_bytes(b"".join(kept))
        path.with_suffix(".new").replace(path)
    append(folder, [report(n, metrics={"loss": 9.0}) for n in range(3, 8)])

    after = await ask("sim-a", "rounds", params={"after": str(before["after"])})

    assert after["journal"] != before["journal"]
    assert after["total"] == 7


async def test_a_simulation_without_rounds_yet_has_none(ask, flaas_home):
    folder = write(flaas_home, header("sim-a"))
    (folder / "rounds.jsonl").unlink()
    assert (await ask("sim-a", "rounds"))["rounds"] == []

    (folder / "rounds.jsonl").symlink_to("/etc/passwd")

    assert (await ask("sim-a", "rounds"))["total"] == 0


@pytest.mark.parametrize(("name", "value"), [("after", "-1"), ("after", "x"), ("limit", "5001"), ("after", "9" * 30)])
async def test_a_wrong_query_is_refused(ask, flaas_home, name, value):
    write(flaas_home, header("sim-a"))

    problem = await refusal(ask("sim-a", "rounds", params={name: value}))

    assert (problem["status"], problem["code"]) == (422, "bad-query")
    assert name in problem["detail"]


def test_ten_thousand_rounds_are_read_once(flaas_home, monkeypatch):
    folder = write(flaas_home, header("sim-a"), [report(n, clients=20) for n in range(1, 10_001)])
    size = (folder / "rounds.jsonl").stat().st_size
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(part := pread(*arguments)) or part)
    simulations = Simulations(flaas_home / "simulations")

    after = pages = 0
    numbers = []
    while (answer := simulations.rounds("sim-a", after, 5000))["rounds"]:
        assert len(json.dumps(answer)) < PAGE_BYTES
        numbers += [each["number"] for each in answer["rounds"]]
        after, pages = answer["after"], pages + 1
    assert numbers == list(range(1, 10_001))
    assert pages >= size / PAGE_BYTES
    assert sum(map(len, read)) < 2.1 * size  # once to find the lines, once to answer

    read.clear()
    append(folder, [report(10_001, clients=20)])
    assert [each["number"] for each in simulations.rounds("sim-a", after, 10)["rounds"]] == [10_001]
    assert sum(map(len, read)) < 10_000


# ---- stopping and deleting -----------------------------------------------------------------------------------


async def test_stopping_leaves_the_file_that_the_engine_looks_for(ask, flaas_home):
    folder = write(flaas_home, header("sim-a"))

    for _ in range(2):
        answer = await ask("sim-a", "stop", method="POST", body="")
        assert (answer["state"], answer["stopping"]) == ("running", True)

    assert (folder / "stop").read_bytes() == b""
    assert (await ask())["simulations"][0]["stopping"] is True


@pytest.mark.parametrize("changes", [{"state": "completed"}, {"pid": DEAD}])
async def test_what_does_not_run_cannot_be_stopped(ask, flaas_home, changes):
    folder = write(flaas_home, header("sim-a", **changes))

    problem = await refusal(ask("sim-a", "stop", method="POST", body=""))

    assert (problem["status"], problem["code"]) == (409, "simulation-not-running")
    assert not (folder / "stop").exists()


async def test_deleting_removes_the_folder_and_nothing_else(ask, flaas_home, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    folder = write(flaas_home, header("sim-a", state="completed"), [report(1)])
    other = write(flaas_home, header("sim-b"))
    (folder / "link").symlink_to(precious)
    await ask("sim-a", "rounds")

    await ask("sim-a", method="DELETE")

    assert not folder.exists()
    assert precious.exists()
    assert other.exists()
    assert [each["id"] for each in (await ask())["simulations"]] == ["sim-b"]
    assert (await refusal(ask("sim-a", "rounds")))["code"] == "unknown-simulation"


async def test_what_runs_cannot_be_deleted(ask, flaas_home):
    folder = write(flaas_home, header("sim-a"))

    problem = await refusal(ask("sim-a", method="DELETE"))

    assert (problem["status"], problem["code"], problem["hint"]) == (409, "simulation-running", "Stop it first.")
    assert folder.exists()


async def test_what_was_interrupted_or_cannot_be_read_can_be_deleted(ask, flaas_home):
    interrupted = write(flaas_home, header("sim-a", pid=DEAD))
    broken = write(flaas_home, header("sim-b"))
    (broken / "simulation.json").write_text("")

    await ask("sim-a", method="DELETE")
    await ask("sim-b", method="DELETE")

    assert not interrupted.exists()
    assert not broken.exists()


async def test_an_unknown_simulation_is_told_as_a_problem(ask):
    problem = await refusal(ask("sim-nowhere"))

    assert problem["status"] == 404
    assert problem["type"] == "/problems/unknown-simulation"
    assert problem["instance"].endswith("/flaas/simulations/sim-nowhere")
    assert "sim-nowhere" in problem["detail"]
