"""The catalogue of rules and attacks: asked of the other package once, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from flaas_server.catalogue import COMMAND, Catalogue
from flaas_server.problems import Problem
from tornado.httpclient import HTTPClientError

CATALOGUE = {"aggregation": [{"name": "krum"}], "attacks": [{"name": "label_flip"}]}


def command(folder: Path, ending: str = "") -> list[str]:
    """A command that prints the catalogue, and counts how often it ran."""
    program = f"""
import json, pathlib, sys
count = pathlib.Path({str(folder / "count")!r})
count.write_text(count.read_text() + "x" if count.exists() else "x")
{ending}
print(json.dumps({CATALOGUE!r}))
"""
    return [sys.executable, "-c", program]


def times(folder: Path) -> int:
    return len((folder / "count").read_text())


async def test_it_is_asked_once_however_many_want_it(tmp_path):
    catalogue = Catalogue(command(tmp_path))

    answers = await asyncio.gather(catalogue.get(), catalogue.get(), catalogue.get())

    assert answers == [CATALOGUE] * 3
    assert await catalogue.get() == CATALOGUE
    assert times(tmp_path) == 1


async def test_who_goes_away_takes_nothing_from_the_others(tmp_path):
    catalogue = Catalogue(command(tmp_path))
    impatient = asyncio.create_task(catalogue.get())
    await asyncio.sleep(0)
    impatient.cancel()

    assert await catalogue.get() == CATALOGUE
    assert times(tmp_path) == 1


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("sys.exit('No module named flaas_jupyter')", "No module named flaas_jupyter"),
        ("sys.exit(3)", "exit code 3"),
        ("print('[]'); sys.exit()", "exit code 0"),
    ],
)
async def test_a_failure_is_told_and_asked_again(tmp_path, ending, why):
    catalogue = Catalogue(command(tmp_path, ending))

    for _ in range(2):
        with pytest.raises(Problem, match=why) as caught:
            await catalogue.get()
        assert caught.value.code == "no-catalogue"

    assert times(tmp_path) == 2


async def test_a_command_that_hangs_is_given_up():
    with pytest.raises(Problem, match=r"longer than 0\.2 s"):
        await Catalogue(["sleep", "60"], timeout=0.2).get()


async def test_a_command_that_is_not_there_is_told():
    with pytest.raises(Problem, match="No such file"):
        await Catalogue(["/nowhere/flaas"]).get()


async def test_closing_ends_the_process(tmp_path):
    catalogue = Catalogue(command(tmp_path, "import time; time.sleep(60)"))
    asked = asyncio.create_task(catalogue.get())
    await asyncio.sleep(0)

    await asyncio.wait_for(catalogue.close(), 10)

    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_the_endpoint_answers_with_it(jp_serverapp, jp_fetch, tmp_path):
    jp_serverapp.web_app.settings["flaas_catalogue"] = Catalogue(command(tmp_path))

    response = await jp_fetch("flaas", "protocols")

    assert json.loads(response.body) == CATALOGUE


async def test_the_endpoint_tells_what_is_wrong(jp_serverapp, jp_fetch):
    jp_serverapp.web_app.settings["flaas_catalogue"] = Catalogue(["/nowhere/flaas"])

    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "protocols")

    problem = json.loads(caught.value.response.body)
    assert (problem["status"], problem["code"]) == (500, "no-catalogue")


def test_the_command_imports_nothing_from_the_folder_it_runs_in():
    assert COMMAND[:3] == (sys.executable, "-P", "-m")
