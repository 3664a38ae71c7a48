"""What deploy/ says, without an engine: its commands exist, versions agree, nothing runs as root or unpinned."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from flaas_jupyter.cli import main

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VERSION = json.loads((ROOT / "package.json").read_text())["version"]
TARGETS = ("api", "node", "node-lab", "relay")
UNITS = ("api", "node", "relay", "reflector")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STEPS = [name for name in SERVICES if name.endswith("-setup")]
LASTING = [name for name in SERVICES if name not in STEPS]


def require_command(words: list[str]) -> None:
    """Fail unless the ``flaas`` command line `words` names a command that there is, with options that it has."""
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group):
        assert rest, f"{shlex.join(words)} is not a whole command"
        assert rest[0] in command.commands, f"{shlex.join(words)}: there is no {rest[0]}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{shlex.join(words)}: there is no {word}"


# ---- Containerfile ----------------------------------------------------------------------------------------------


def stages() -> dict[str, tuple[str, list[str]]]:
    """Each stage of the Containerfile: what it is made from, and its instructions."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
            found[name] = (match[1], [])
        elif name and line and not line.startswith("#"):
            found[name][1].append(line)
    return found


def instructions(target: str) -> list[str]:
    """All instructions of a target, its ancestors' first."""
    known = stages()
    base, own = known[target]
    return [*(instructions(base) if base in known else []), *own]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_a_command_that_exists_as_a_user_with_a_fixed_uid_and_is_checked(target: str) -> None:
    lines = instructions(target)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"
    assert "VOLUME /var/lib/flaas" in lines
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    command = json.loads(next(line for line in reversed(lines) if line.startswith("CMD ")).removeprefix("CMD "))
    if command[0] == "flaas":
        require_command(command)
    else:
        assert command == ["jupyter", "lab"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_takes_nothing_of_the_builder_but_the_environment(target: str) -> None:
    """Indexes, certificates and credentials of the build are in other stages, and passwords in none."""
    lines = instructions(target)
    assert not [line for line in lines if line.startswith("ARG ") or "secret" in line.lower()]
    copied = [line for line in lines if line.startswith("COPY --from=")]
    assert copied == [f"COPY --from={stage} /opt/flaas /opt/flaas" for stage in (f"{target}-dependencies", "package")]


def test_a_build_sees_only_what_a_wheel_is_made_of() -> None:
    lines = (ROOT / ".containerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert not allowed & {".git", "tests", ".venv", "deploy", "node_modules"}
    assert all(list(ROOT.glob(path)) for path in allowed if not path.startswith("dist/"))


# ---- addresses --------------------------------------------------------------------------------------------------


def test_who_listens_with_udp_does_so_in_both_families() -> None:
    """A family that is not named is bound to loopback."""
    files = [path for folder in (DEPLOY, ROOT / "docs") for path in folder.rglob("*") if path.suffix != ".png"]
    lines = [line for path in files if path.is_file() for line in path.read_text().splitlines()]
    found = [(line, port) for line in lines for port in re.findall(r"\b0\.0\.0\.0:(4164\d)", line)]
    assert len(found) >= 7
    for line, port in found:
        assert f"[::]:{port}" in line, line


# ---- compose ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"pids_limit", "mem_limit", "cpus"} <= set(service)
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "user"} & set(service)
    assert service["image"].endswith(":${FLAAS_VERSION:-" + VERSION + "}")


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_starts_with_a_command_that_exists(name: str) -> None:
    words = SERVICES[name]["command"]
    if words[:3] == ["sh", "/demo/setup.sh", "after"]:
        assert f"{words[3]}() {{" in (DEPLOY / "demo" / "setup.sh").read_text()
        words = words[4:]
    if words != ["jupyter", "lab"]:
        require_command(words)


def test_each_image_has_one_service_that_builds_it() -> None:
    built = {SERVICES[name]["build"]["target"]: SERVICES[name]["image"] for name in LASTING}
    assert built.keys() == set(TARGETS)
    assert all(f"/flaas-{target}:" in image for target, image in built.items())


def test_each_hospital_is_alone_on_a_network_without_a_way_out() -> None:
    hospitals = ("screening", "regional", "referral")
    for hospital in hospitals:
        assert COMPOSE["networks"][hospital] == {"internal": True}
        there = {name for name in SERVICES if hospital in SERVICES[name]["networks"]}
        assert there == {"api", "relay", hospital, f"{hospital}-setup"}
        assert SERVICES[hospital]["networks"] == [hospital]


def test_only_jupyterlab_is_published_and_to_this_machine_alone() -> None:
    published = {name: SERVICES[name]["ports"] for name in SERVICES if "ports" in SERVICES[name]}
    assert list(published) == ["laboratory"]
    assert all(port.startswith("127.0.0.1:") for port in published["laboratory"])


def test_the_domain_key_and_what_is_handed_over_are_in_no_container_that_lasts() -> None:
    for name in LASTING:
        volumes = {volume.partition(":")[0] for volume in SERVICES[name].get("volumes", [])}
        assert not volumes & {"administrator", "exchange"}, name
        others = {other for other in LASTING if other != name}
        assert not volumes & others, f"{name} sees another's FLAAS_HOME"


def test_the_founding_uses_commands_that_exist() -> None:
    script = re.sub(r"\\\n\s*", " ", (DEPLOY / "demo" / "setup.sh").read_text())
    words = r'((?: (?:"[^"]*"|[^\s|;<>"()]+))+)'
    called = re.findall(rf'^[^#\n]*?(?:\bas (?:[a-z]+|"[^"]+")|\bflaas){words}', script, re.MULTILINE)
    lines = [shlex.split(line) for line in called if "$@" not in line]
    assert len(lines) >= 12
    for line in lines:
        require_command(["flaas", *line])


# ---- systemd ----------------------------------------------------------------------------------------------------


def unit(name: str) -> list[str]:
    return (DEPLOY / "systemd" / f"flaas-{name}.service").read_text().splitlines()


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_a_command_that_exists_as_a_user_of_its_own(name: str) -> None:
    lines = unit(name)
    command = next(line for line in lines if line.startswith("ExecStart=")).removeprefix("ExecStart=")
    words = shlex.split(command)
    assert words[0] == "/opt/flaas/bin/flaas"
    require_command(["flaas", *words[1:]])
    assert f"User=flaas-{name}" in lines
    assert f"StateDirectory=flaas-{name}" in lines
    users = (DEPLOY / "systemd" / "flaas.sysusers.conf").read_text()
    assert re.search(rf"^u flaas-{name} ", users, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_a_unit_and_judges_it_well(name: str, tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(DEPLOY / "systemd", units)
    for program in ("opt/flaas/bin/flaas", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).touch(0o755)
    for target in ("sysinit", "basic", "shutdown", "network-online", "multi-user"):
        (units / f"{target}.target").write_text("[Unit]\n")
    analyze = ["systemd-analyze", f"--root={tmp_path}"]
    verified = subprocess.run(
        [*analyze, "verify", str(units / f"flaas-{name}.service")], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stderr
    assert "flaas" not in verified.stderr, verified.stderr
    judged = subprocess.run(
        [*analyze, "security", "--offline=true", f"flaas-{name}.service"], capture_output=True, text=True, check=True
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert found, judged.stdout
    assert float(found[1]) < 2.0


# ---- Helm -------------------------------------------------------------------------------------------------------


def test_the_chart_has_the_version_of_the_package_and_pins_what_it_runs() -> None:
    chart = yaml.safe_load((DEPLOY / "helm/flaas/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION
    values = yaml.safe_load((DEPLOY / "helm/flaas/values.yaml").read_text())
    assert re.search(r":\d[\w.-]+$", values["postgresql"]["image"])


@pytest.mark.parametrize("part", ["api", "node", "relay"])
def test_the_chart_runs_commands_that_exist(part: str) -> None:
    template = (DEPLOY / f"helm/flaas/templates/{part}.yaml").read_text()
    words = re.search(r"^ +args: \[(flaas, .*)\]$", template, re.MULTILINE)
    assert words
    require_command([word.strip('"') for word in words[1].split(", ")])


def test_nothing_is_named_latest() -> None:
    for file in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.tpl"), DEPLOY / "Containerfile"]:
        assert ":latest" not in file.read_text(), file
