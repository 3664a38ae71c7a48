"""A temporary PostgreSQL cluster for tests, from whatever PostgreSQL is installed.

It listens on a socket in its own folder only. PostgreSQL refuses to run as root; then it runs as ``postgres`` or
``nobody``.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

MISSING = (
    "PostgreSQL is not installed (no initdb in PATH, pg_config's or /usr/lib/postgresql): apt-get install postgresql"
)

_IN_A_HURRY = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c autovacuum=off"
"""What is in it need not outlive a crash, and nothing of its own accord locks a data base that a test copies."""
_ROOM = 2 << 30
"""Bytes that the data bases of a run of tests do not fill."""


def find_binaries() -> Path | None:
    """Return the folder with initdb and postgres, the newest if there are several."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    if (config := shutil.which("pg_config")) is not None:
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        if said and (Path(said) / "initdb").exists():
            return Path(said)
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda folder: float(folder.parent.name), default=None)


def install() -> str:
    """Install Debian's PostgreSQL where there is none and this is Debian and root; say what there is now."""
    if find_binaries() is None and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "-q", "-y", "update"], ["apt-get", "-q", "-y", "install", "postgresql"]):
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    found = find_binaries()
    return f"PostgreSQL: {found}" if found else f"{MISSING}. Its tests are skipped."


class Cluster:
    """A running cluster; `stop` ends it and removes its files.

    Parameters
    ----------
    binaries : Path
        See `find_binaries`.
    """

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flaas-postgresql-", dir=_memory()))
        self._user = _unprivileged()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        data, log = self.folder / "data", self.folder / "log"
        self._run(binaries / "initdb", "-D", data, "-U", "flaas", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c max_connections=200 {_IN_A_HURRY}"
        self._control = [binaries / "pg_ctl", "-D", data, "-w", "-t", "60"]
        self._run(*self._control, "-l", log, "-o", options, "start")

    def create(self, template: str = "template0") -> str:
        """Create a data base like `template`; return its name."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            # Since version 15 pages go through the log, which takes ten times as long; before, there is no choice.
            copied = "STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
            connection.execute(f'CREATE DATABASE {name} TEMPLATE "{template}" {copied}')
        return name

    def drop(self, name: str) -> None:
        """Remove a data base, also from under those who use it."""
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, *statements: str, name: str = "postgres") -> None:
        """Do something as the cluster's superuser."""
        with psycopg.connect(self._conninfo(name), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def url(self, name: str, user: str = "flaas") -> str:
        """Return the URL of a data base; for `user`, by default the cluster's superuser."""
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def stop(self) -> None:
        """End the cluster."""
        self._run(*self._control, "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def _conninfo(self, name: str) -> str:
        return f"host={self.folder} user=flaas dbname={name}"

    def _run(self, *command: object) -> None:
        words = [str(word) for word in command]
        if self._user is not None:
            words = ["setpriv", f"--reuid={self._user}", f"--regid={self._user_group()}", "--clear-groups", *words]
        # Files, not pipes: the server that pg_ctl leaves behind would hold them open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{' '.join(words)} failed:\n{output.read().decode()}")

    def _user_group(self) -> int:
        return pwd.getpwnam(str(self._user)).pw_gid


def _unprivileged() -> str | None:
    """Return whom to run as: somebody else if this is root, else nobody else."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _memory() -> str | None:
    """Return a folder in memory with room for a cluster, None (the usual place) if there is none."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _ROOM
    return str(memory) if roomy else None


if __name__ == "__main__":
    print(install())
