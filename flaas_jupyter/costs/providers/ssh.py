"""A machine of one's own (in a hospital's cellar, at the edge) as a cloud of one machine, reached by the system's ssh.

The machine has flaas_jupyter installed. Its host key is pinned: without it, whoever answers at that address would be
given the enrolment secret. Each launch has a folder under ``~/.flaas-machines``, named by its token; making it is what
keeps one token from making two processes.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

from ...errors import InvalidInput
from ...home import write_private
from ..driver import (
    INSTALLATION_TAG,
    ChargeRow,
    CloudUnreachable,
    CredentialField,
    CredentialsRefused,
    Endpoint,
    Identity,
    Machine,
    MachineOrder,
    NotOffered,
    PermissionCheck,
    PriceRow,
)
from ..launch.cloud_init import node_of

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_TOKEN = re.compile(r"[a-z0-9][a-z0-9-]{0,35}")
_COMMAND = re.compile(r"[A-Za-z0-9_./~-]+")
_TIMEOUT = 60

# The far side is POSIX sh and Linux's /proc. The process's start time (proc(5), field 22) tells a reused pid.
_PRELUDE = """
set -u
base="$HOME/.flaas-machines"
started() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" && $1 != "X" {print $20}'; }
alive() {
  [ -f "$1/pid" ] || return 1
  read -r pid since < "$1/pid"
  [ -n "$since" ] && [ "$(started "$pid")" = "$since" ]
}
"""
_LAUNCH = """
umask 077
mkdir -p "$base"
folder="$base/$token"
if mkdir "$folder" 2>/dev/null || [ ! -f "$folder/pid" ]; then
  cat > "$folder/order"
  sed -n 1p "$folder/order" > "$folder/machine.json"
  sed -n 2p "$folder/order" > "$folder/node.json"
  rm "$folder/order"
  FLAAS_HOME="$folder/home" TF_CPP_MIN_LOG_LEVEL=3 nohup setsid sh -c '
    echo "$$ $(sed "s/^.*) //" /proc/$$/stat | awk "{print \\$20}")" > "$1/pid.new"
    mv -n "$1/pid.new" "$1/pid"
    read -r first rest < "$1/pid"
    [ "$first" = "$$" ] || exit 0
    exec "$2" node boot "$1/node.json"
  ' flaas-machine "$folder" "$command" > "$folder/node.log" 2>&1 < /dev/null &
  n=0
  while [ ! -f "$folder/pid" ] && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
  [ -f "$folder/pid" ] || { echo "no process" >&2; exit 3; }
else
  cat > /dev/null
fi
"""
_DESCRIBE = """
for folder in "$base"/*/; do
  folder="${folder%/}"
  [ -f "$folder/machine.json" ] || continue
  state=terminated
  if alive "$folder"; then state=running
  elif [ ! -f "$folder/ended" ]; then date -u +%Y-%m-%dT%H:%M:%SZ > "$folder/ended"
  fi
  left=no
  [ -e "$folder/node.json" ] || [ -e "$folder/home" ] && left=yes
  printf '%s\\t%s\\t%s\\t%s\\t%s\\n' "${folder##*/}" "$state" "$left" \
    "$(cat "$folder/ended" 2>/dev/null)" "$(cat "$folder/machine.json")"
done
"""
_TERMINATE = """
folder="$base/$token"
[ -d "$folder" ] || exit 0
for signal in TERM KILL; do
  n=0
  if alive "$folder"; then kill -"$signal" "$pid" 2>/dev/null; fi
  while alive "$folder" && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
done
if alive "$folder"; then echo "the process does not end" >&2; exit 3; fi
rm -rf "$folder/node.json" "$folder/home"
[ -f "$folder/ended" ] || date -u +%Y-%m-%dT%H:%M:%SZ > "$folder/ended"
"""


class SshDriver:
    """One machine of one's own.

    Parameters
    ----------
    credentials : mapping
        See `fields`.
    endpoint : Endpoint
        Not used.

    Raises
    ------
    InvalidInput
        Code ``bad-credentials``: a host, user or host key that is none.
    """

    name: ClassVar[str] = "ssh"
    title: ClassVar[str] = "A machine of our own (SSH)"
    fields: ClassVar[Sequence[CredentialField]] = (
        CredentialField("host", "Host", help="name or address"),
        CredentialField("port", "Port", required=False, help="22 if left out"),
        CredentialField("user", "User", help="without privileges; flaas_jupyter is installed for it"),
        CredentialField("private_key", "Private key", secret=True, help="OpenSSH or PEM, without a passphrase"),
        CredentialField("host_key", "Host key", help="as `ssh-keyscan` prints it, checked on the machine itself"),
        CredentialField("command", "flaas command", required=False, help="its path there; `flaas` if left out"),
    )

    def __init__(self, credentials: Mapping[str, str], endpoint: Endpoint | None = None) -> None:
        self._host, self._user = credentials["host"], credentials["user"]
        self._port = credentials.get("port") or "22"
        self._command = credentials.get("command") or "flaas"
        self._key = credentials["private_key"].strip() + "\n"
        words = credentials["host_key"].split()
        sound = {
            "host": _HOST.fullmatch(self._host),
            "user": _USER.fullmatch(self._user),
            "port": self._port.isdecimal() and 0 < int(self._port) < 65536,
            "command": _COMMAND.fullmatch(self._command),
            "host_key": len(words) in (2, 3) and re.fullmatch(r"[A-Za-z0-9@.-]+", words[-2]),
        }
        wrong = [name for name, good in sound.items() if not good]
        if wrong:
            raise InvalidInput(
                f"Credentials of {self.title} are not right: {', '.join(wrong)}.",
                code="bad-credentials",
                hint="They have: " + ", ".join(f"{each.name} ({each.help})" for each in self.fields) + ".",
            )
        self._pinned = " ".join(words[-2:])

    def whoami(self) -> Identity:
        """Sign in, and see whether flaas_jupyter is there."""
        done = self._run(f"command -v {self._command} >/dev/null && echo yes || echo no")
        granted = done.strip().endswith("yes")
        return Identity(
            self._host, self._user, (PermissionCheck(f"run {self._command}", granted, "launch"),), currency="USD"
        )

    def prices(self, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
        """Yield nothing."""
        return iter(())

    def negotiated(self, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
        """Yield nothing."""
        return iter(())

    def costs(self, start: date, end: date) -> Iterator[ChargeRow]:
        """Yield nothing."""
        return iter(())

    def launch(self, order: MachineOrder) -> Machine:
        """Start the node there; the same order again returns the same machine."""
        described = {
            "tags": order.tags,
            "region": order.region,
            "instance_type": order.instance_type,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        lines = json.dumps(described) + "\n" + json.dumps(node_of(order.user_data)) + "\n"
        self._run(f"token={order.token}\ncommand={shlex.quote(self._command)}\n{_LAUNCH}", lines)
        found = [machine for machine in self._machines() if machine.token == order.token]
        if not found:
            raise NotOffered(f"{self._host} has not started the node.", hint="Look into ~/.flaas-machines there.")
        return found[0]

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return the machines of this installation, ended ones too."""
        return [
            machine
            for machine in self._machines()
            if machine.tags.get(INSTALLATION_TAG) == installation and machine.region in regions
        ]

    def terminate(self, machine: Machine) -> None:
        """End the process (SIGTERM, then SIGKILL) and remove its key and data."""
        if _TOKEN.fullmatch(machine.id):
            self._run(f"token={machine.id}\n{_TERMINATE}")

    def _machines(self) -> list[Machine]:
        found = []
        for line in self._run(_DESCRIBE).splitlines():
            token, state, left, ended, described = line.split("\t", 4)
            known = json.loads(described)
            found.append(
                Machine(
                    provider=self.name,
                    id=token,
                    region=known["region"],
                    instance_type=known["instance_type"],
                    state="running" if state == "running" else "terminated",
                    token=token,
                    tags=known["tags"],
                    created=datetime.fromisoformat(known["created"]),
                    ended=datetime.fromisoformat(ended) if ended and state != "running" else None,
                    leftovers=(f"~/.flaas-machines/{token}",) if left == "yes" and state != "running" else (),
                )
            )
        return found

    def _run(self, script: str, sent: str = "") -> str:
        """Run a script there; what is secret goes over standard input, never into an argument."""
        with self._files() as (key, known_hosts):
            command = [
                "ssh", "-F", "none", "-T", "-p", self._port, "-l", self._user, "-i", str(key),
                *_options(UserKnownHostsFile=known_hosts, GlobalKnownHostsFile="/dev/null", StrictHostKeyChecking="yes",
                          BatchMode="yes", IdentitiesOnly="yes", ConnectTimeout="15", ForwardAgent="no",
                          ClearAllForwardings="yes", HostKeyAlias="machine", LogLevel="ERROR"),
                "--", self._host, f"sh -c {shlex.quote(_PRELUDE + script)}",
            ]  # fmt: skip
            try:
                done = subprocess.run(  # noqa: S603 - its words are checked above
                    command, input=sent, capture_output=True, text=True, timeout=_TIMEOUT, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise CloudUnreachable(f"{self._host} does not answer ({type(error).__name__}).") from error
        if done.returncode == 0:
            return done.stdout
        told = done.stderr.strip()[-300:]
        if done.returncode != 255:
            raise NotOffered(f"{self._host} could not do it: {told or done.returncode}.")
        if "Permission denied" in told or "Host key verification failed" in told:
            raise CredentialsRefused(
                f"{self._host} and {self._user}'s key do not know each other: {told}.",
                hint="Is the key in authorized_keys there, and the host key the machine's own?",
            )
        raise CloudUnreachable(f"{self._host} does not answer: {told}.")

    @contextlib.contextmanager
    def _files(self) -> Iterator[tuple[Path, Path]]:
        with tempfile.TemporaryDirectory(prefix="flaas-ssh-") as folder:
            key, known_hosts = Path(folder) / "key", Path(folder) / "known_hosts"
            write_private(key, self._key.encode())
            write_private(known_hosts, f"machine {self._pinned}\n".encode())
            yield key, known_hosts


def _options(**options: Any) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
