"""Processes as machines: one per token, surviving their starter, ended for sure, and never somebody else's."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flaas_jupyter.costs.driver import MachineOrder, NotOffered
from flaas_jupyter.costs.launch.cloud_init import SECRET_PLACE, Software, build
from flaas_jupyter.costs.providers import local, ssh
from flaas_jupyter.costs.providers.local import LocalDriver
from flaas_jupyter.costs.providers.ssh import SshDriver
from flaas_jupyter.errors import InvalidInput, NotAllowed

SLEEPER = "#!/bin/sh\nexec sleep 300\n"


def order(token="mtoken1", *, source=None, **changes):
    node = {
        "url": "http://127.0.0.1:1", "secret": SECRET_PLACE, "organisation": "lab", "project": "credit",
        "domain_key": "a" * 64, "name": "north", "end_by": None,
        "datasets": [{"name": "rows", "source": source, "target": "y"}] if source else [],
    }  # fmt: skip
    fields = {
        "token": token, "installation": "iours", "project": "credit", "launch": "l1", "node": "north",
        "region": "here", "instance_type": "process", "max_minutes": 60,
        "user_data": build(node, Software("flaas_jupyter"), 60),
    }  # fmt: skip
    return MachineOrder(**{**fields, **changes})


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver whose machines do nothing but run."""
    (tmp_path / "rows.csv").write_text("a,y\n1,0\n")

    def spawn(folder: Path) -> int:
        words = ["sleep 300 # ", "boot", str(folder / "node.json")]
        process = subprocess.Popen(["sh", "-c", words[0], *words[1:]], start_new_session=True)
        process.returncode = 0
        return process.pid

    monkeypatch.setattr(local, "_spawn", spawn)
    made = LocalDriver({}, folder=tmp_path)
    yield made
    for machine in made.describe("iours", ["here"]):
        made.terminate(machine)


def pid_of(tmp_path, token="mtoken1"):
    return json.loads((tmp_path / "machines" / token / "process.json").read_text())["pid"]


def test_one_token_makes_one_machine(driver, tmp_path):
    first = driver.launch(order())
    pid = pid_of(tmp_path)
    again = LocalDriver({}, folder=tmp_path).launch(order())
    assert (again.id, pid_of(tmp_path)) == (first.id, pid)
    assert first.state == "running"
    assert driver.launch(order("mtoken2")).id != first.id
    assert len(driver.describe("iours", ["here"])) == 2


def test_a_starter_that_died_before_it_noted_the_process_finds_it_again(driver, tmp_path):
    driver.launch(order())
    pid = pid_of(tmp_path)
    (tmp_path / "machines" / "mtoken1" / "process.json").unlink()
    assert driver.launch(order()).state == "running"
    assert pid_of(tmp_path) == pid


def test_ending_is_proved_and_removes_what_was_secret(driver, tmp_path):
    machine = driver.launch(order())
    folder = tmp_path / "machines" / machine.id
    assert stat.S_IMODE((folder / "node.json").stat().st_mode) == 0o600
    driver.terminate(machine)
    (ended,) = driver.describe("iours", ["here"])
    assert ended.gone
    assert ended.ended >= ended.created
    assert not (folder / "node.json").exists()
    driver.terminate(machine)
    assert driver.launch(order()).state == "terminated", "a token is never used for a second machine"


def test_a_machine_that_ended_by_itself_has_leftovers_until_it_is_ended(driver, tmp_path):
    machine = driver.launch(order())
    os.kill(pid_of(tmp_path), 9)
    os.waitpid(pid_of(tmp_path), 0)
    (ended,) = driver.describe("iours", ["here"])
    assert ended.state == "terminated"
    assert not ended.gone
    driver.terminate(machine)
    assert driver.describe("iours", ["here"])[0].gone


def test_a_pid_that_somebody_else_has_by_now_is_never_touched(driver, tmp_path):
    machine = driver.launch(order())
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        noted = tmp_path / "machines" / machine.id / "process.json"
        real = json.loads(noted.read_text())
        noted.write_text(json.dumps({"pid": bystander.pid, "started": "1"}))
        assert driver.describe("iours", ["here"])[0].state == "terminated"
        driver.terminate(machine)
        assert bystander.poll() is None
        noted.write_text(json.dumps(real))
    finally:
        bystander.kill()
        bystander.wait()


def test_data_sets_are_files_of_the_permitted_folder_only(driver, tmp_path):
    driver.launch(order(source="rows.csv"))
    config = json.loads((tmp_path / "machines" / "mtoken1" / "node.json").read_text())
    assert config["datasets"][0]["source"] == str(tmp_path / "rows.csv")
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    (tmp_path / "machines" / "x.csv").write_text("a\n")
    for source in ("../x", "/etc/passwd", "link.csv", "machines/x.csv", "machines/mtoken1/node.json", "no.csv", ".",
                   "https://example.org/x.csv"):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            driver.launch(order("mother", source=source))
        assert caught.value.code == "dataset-outside", source


def test_other_machines_are_not_offered(driver):
    with pytest.raises(NotOffered):
        driver.launch(order(instance_type="m5.large"))
    assert driver.describe("iours", ["eu-west-1"]) == []
    driver.launch(order())
    assert driver.describe("iother", ["here"]) == []


def test_without_a_folder_nothing_is_permitted(monkeypatch):
    monkeypatch.delenv("FLAAS_LOCAL_MACHINES", raising=False)
    with pytest.raises(NotAllowed) as caught:
        LocalDriver({})
    assert caught.value.code == "local-not-permitted"


# ---- ssh: the far side is this machine, by a client that only runs the command; a real sshd where there is one -----

CREDENTIALS = {"host": "edge.example", "user": "flaas", "private_key": "key", "host_key": "ssh-ed25519 AAAA"}


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A machine that ssh reaches: notes how it was called, then runs the last word in a home of its own."""
    bin_folder, home = tmp_path / "bin", tmp_path / "home"
    bin_folder.mkdir()
    home.mkdir()
    client = bin_folder / "ssh"
    client.write_text(
        f"#!{sys.executable}\nimport os, sys, stat\n"
        f"key = sys.argv[sys.argv.index('-i') + 1]\n"
        f"assert stat.S_IMODE(os.stat(key).st_mode) == 0o600\n"
        f"known = next(w for w in sys.argv if w.startswith('UserKnownHostsFile=')).partition('=')[2]\n"
        f"assert open(known).read() == 'machine ssh-ed25519 AAAA\\n'\n"
        f"open({str(tmp_path / 'called')!r}, 'a').write(' '.join(sys.argv[1:-1]) + '\\n')\n"
        f"assert 'secret' not in sys.argv[-1]\n"
        f"os.environ['HOME'] = {str(home)!r}\n"
        f"os.execvp('sh', ['sh', '-c', sys.argv[-1]])\n"
    )
    flaas = bin_folder / "flaas"
    flaas.write_text(SLEEPER)
    for program in (client, flaas):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    made = SshDriver(CREDENTIALS)
    yield made
    for machine in made.describe("iours", ["here"]):
        made.terminate(machine)


def test_a_machine_of_ones_own_is_launched_described_and_ended(far, tmp_path):
    assert far.whoami().missing("launch") == ()
    machine = far.launch(order())
    assert machine.state == "running"
    folder = tmp_path / "home" / ".flaas-machines" / "mtoken1"
    pid = (folder / "pid").read_text()
    assert far.launch(order()).id == machine.id
    assert (folder / "pid").read_text() == pid
    assert json.loads((folder / "node.json").read_text())["name"] == "north"
    far.terminate(machine)
    (ended,) = far.describe("iours", ["here"])
    assert ended.gone
    assert ended.ended is not None
    assert not (folder / "node.json").exists()
    far.terminate(machine)
    assert local._started(int(pid.split()[0])) is None
    options = (tmp_path / "called").read_text()
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "ForwardAgent=no"):
        assert option in options


@pytest.mark.parametrize(
    "changes",
    [{"host": "-oProxyCommand=reboot"}, {"host": "a b"}, {"user": "-x"}, {"user": "a;b"}, {"port": "0"}, {"port": "x"},
     {"host_key": "x"}, {"host_key": ""}, {"command": "flaas; reboot"}],
)  # fmt: skip
def test_credentials_that_ssh_could_take_for_options_are_refused(changes):
    with pytest.raises(InvalidInput) as caught:
        SshDriver({**CREDENTIALS, **changes})
    assert caught.value.code == "bad-credentials"
    assert "key\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="there is no /usr/sbin/sshd here")
def test_a_real_sshd_on_loopback(tmp_path):
    import getpass
    import socket

    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path / 'host'}\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path / 'user.pub'}\nPidFile {tmp_path / 'sshd.pid'}\n"
    )
    flaas = tmp_path / "flaas"
    flaas.write_text(SLEEPER)
    flaas.chmod(0o755)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])
    credentials = {
        "host": "127.0.0.1", "port": str(port), "user": getpass.getuser(), "command": str(flaas),
        "private_key": (tmp_path / "user").read_text(), "host_key": (tmp_path / "host.pub").read_text(),
    }  # fmt: skip
    token = f"mtest{os.getpid()}"
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        driver = SshDriver(credentials)
        machine = driver.launch(order(token))
        assert machine.state == "running"
        driver.terminate(machine)
        assert next(m for m in driver.describe("iours", ["here"]) if m.id == token).gone
        with pytest.raises(ssh.CredentialsRefused):
            SshDriver({**credentials, "host_key": (tmp_path / "user.pub").read_text()}).whoami()
    finally:
        server.terminate()
        server.wait()
