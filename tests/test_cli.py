"""The command line: help everywhere, JSON where there is output, exit codes, errors in one message."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.home import Home


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    for name in ("FLAAS_URL", "FLAAS_TOKEN", "FLAAS_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        inner = (*path, name)
        found += commands(command, inner) if isinstance(command, click.Group) else [inner]
    return found


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_explains_itself(run, path):
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert len(result.output.splitlines()) >= 4


def test_exit_codes_tell_usage_from_failure(run):
    assert run("node", "init").exit_code == 2
    assert run("no-such-command").exit_code == 2
    assert run("node", "status").exit_code == 1


def test_a_failure_is_one_message_with_what_to_do(run):
    result = run("node", "run")
    assert result.exit_code == 1
    assert "flaas node init" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_node_is_made_once_and_its_files_are_private(run, tmp_path):
    made = run("node", "init", "--name", "clinic-a", "--json")
    assert made.exit_code == 0, made.stderr
    node = json.loads(made.stdout)
    assert len(node["node_id"]) == 64
    home = tmp_path / "home"
    assert {path.name: path.stat().st_mode & 0o777 for path in home.iterdir() if path.is_file()} == {
        "node.json": 0o600,
        "node.key": 0o600,
        "node.toml": 0o600,
    }
    again = run("node", "init", "--name", "clinic-b")
    assert again.exit_code == 1
    assert "already" in again.stderr
    status = json.loads(run("node", "status", "--json").stdout)
    assert (status["name"], status["node_id"], status["state"]) == ("clinic-a", node["node_id"], "not joined")


@pytest.mark.parametrize("name", ["", "Clinic", "a b", "-a", "x" * 64, "a/b"])
def test_a_bad_node_name_is_refused(run, name):
    result = run("node", "init", f"--name={name}")
    assert result.exit_code == 1
    assert "node name" in result.stderr


def test_data_sets_are_added_listed_and_removed(run, tmp_path):
    path = tmp_path / "loans.csv"
    path.write_text("age,income,default\n" + "\n".join(f"{20 + i},{1000 * i},{i % 2}" for i in range(50)))
    run("node", "init", "--name", "clinic-a")
    added = run("dataset", "add", "loans", str(path), "--target", "default", "--json")
    assert added.exit_code == 0, added.stderr
    description = json.loads(added.stdout)
    assert description["rows"] == 50
    assert [feature["name"] for feature in description["features"]] == ["age", "income"]
    assert [entry["name"] for entry in json.loads(run("dataset", "list", "--json").stdout)] == ["loans"]
    assert run("dataset", "remove", "loans").exit_code == 0
    assert json.loads(run("dataset", "list", "--json").stdout) == []
    assert path.exists()
    assert run("dataset", "remove", "loans").exit_code == 1


def test_a_wrong_target_lists_the_columns(run, tmp_path):
    path = tmp_path / "loans.csv"
    path.write_text("age,default\n30,0\n40,1\n")
    result = run("dataset", "add", "loans", str(path), "--target", "defaulted")
    assert result.exit_code == 1
    assert "defaulted" in result.stderr
    assert "age" in result.stderr


def test_a_domain_key_is_made_once_and_signs_only_where_it_is(run):
    key = json.loads(run("domain", "init", "credit", "--json").stdout)["domain_key"]
    assert json.loads(run("domain", "init", "credit", "--json").stdout)["domain_key"] == key
    assert Home.default().domain_key("credit").stat().st_mode & 0o777 == 0o600
    elsewhere = run("domain", "sign", "other", "ab" * 32, "--organisation", "lab")
    assert elsewhere.exit_code == 1
    assert "not on this machine" in elsewhere.stderr


def test_nobody_is_signed_in_at_first(run):
    assert run("whoami").exit_code == 1
    assert "Nobody" in run("logout").output


def test_the_doctor_finds_an_exposed_key(run, tmp_path):
    run("node", "init", "--name", "clinic-a")
    (tmp_path / "home" / "node.key").chmod(0o644)
    result = run("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    exposed = findings[str(tmp_path / "home" / "node.key")]
    assert exposed["state"] == "problem"
    assert "chmod 600" in exposed["advice"]
    assert result.exit_code == 1


def imports_of(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_stays_cheap():
    heavy = {"keras", "tensorflow", "pandas", "iroh", "fastapi", "sqlalchemy", "httpx", "numpy"}
    assert not heavy & imports_of("import flaas_jupyter")
    assert not (heavy - {"httpx", "numpy"}) & imports_of("import flaas_jupyter.cli")


def test_the_hosted_side_imports_no_machine_learning():
    heavy = {"keras", "tensorflow", "jax", "pandas", "iroh"}
    assert not heavy & imports_of("import flaas_jupyter.coordination.app")
