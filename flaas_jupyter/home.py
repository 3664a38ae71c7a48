"""`FLAAS_HOME`: the one folder where this machine's user or node keeps its key, its credentials and its runs.

Everything in it is private (folders 0700, files 0600) and written atomically, so that a crash never leaves half a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InvalidInput, NotAuthenticated
from .ids import require_domain_key, require_project

DEFAULT_URL = "http://127.0.0.1:8470"


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` against other processes that change it: read, change and write while this lasts."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Credentials:
    """Where the coordination API is and the token it knows the caller by; the token never shows in `repr`."""

    url: str
    token: str | None

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, token={'set' if self.token else None})"


@dataclass(frozen=True)
class Home:
    """Paths inside one `FLAAS_HOME`."""

    path: Path

    @classmethod
    def default(cls) -> Home:
        """`FLAAS_HOME`, else ``~/.flaas``."""
        return cls(Path(os.environ.get("FLAAS_HOME") or Path.home() / ".flaas"))

    @property
    def key(self) -> Path:
        """Seed of the node's or user's mesh identity."""
        return self.path / "node.key"

    @property
    def policy(self) -> Path:
        """The owner's policy, for people to edit."""
        return self.path / "node.toml"

    @property
    def mesh(self) -> Path:
        """How this machine takes part in the mesh, for people to edit; it need not be there."""
        return self.path / "mesh.toml"

    @property
    def enrolment(self) -> Path:
        """Name, coordination API and projects of the node, kept by `flaas node`."""
        return self.path / "node.json"

    @property
    def runs(self) -> Path:
        """Checkpoints of the runs that this node aggregates."""
        return self.path / "runs"

    @property
    def simulations(self) -> Path:
        """Journals and checkpoints of simulations, a folder each."""
        return self.path / "simulations"

    @property
    def executors(self) -> Path:
        """Which executor was measured to be the quickest, by model."""
        return self.path / "executors.json"

    @property
    def programs(self) -> Path:
        """Folder of programs that simulations have compiled."""
        return self.path / "programs"

    @property
    def prices(self) -> Path:
        """Folder of cloud prices that were fetched; see `flaas costs refresh`."""
        return self.path / "prices"

    @property
    def tls(self) -> Path:
        """Folder of the private certificate authority of `flaas api serve --tls-private`."""
        return self.path / "tls"

    @property
    def authorities(self) -> Path:
        """Folder of the certificates that were pinned for coordination APIs, a file for each address."""
        return self.path / "authorities"

    def domain_key(self, project: str) -> Path:
        """Private half of a project's domain key: on an administrator's machine only."""
        return self.path / "domains" / f"{require_project(project)}.key"

    def domain_statements(self, project: str, domain_key: str) -> Path:
        """The newest documents that a project's domain key has signed, as far as this machine has seen them.

        Each key has a file of its own: whoever gives a project another key cannot have the former one's forgotten.
        """
        return self.path / "domains" / f"{require_project(project)}-{require_domain_key(domain_key)[:16]}.json"

    @property
    def database_url(self) -> str:
        """`FLAAS_DATABASE_URL`, else an SQLite file in this folder."""
        return os.environ.get("FLAAS_DATABASE_URL") or f"sqlite:///{self.path / 'coordination.db'}"

    def credentials(self, url: str | None = None) -> Credentials:
        """Credentials of the caller: the argument, then `FLAAS_URL`/`FLAAS_TOKEN`, then the file of `flaas login`.

        A stored token goes only to the API that it was stored for.
        """
        stored = self._read_credentials()
        url = (url or os.environ.get("FLAAS_URL") or stored.get("url") or DEFAULT_URL).rstrip("/")
        token = os.environ.get("FLAAS_TOKEN")
        if not token and stored.get("url", "").rstrip("/") == url:
            token = stored.get("token")
        return Credentials(url, token or None)

    def save_credentials(self, credentials: Credentials) -> None:
        """Keep `credentials` for later `flaas` commands and notebooks."""
        if not credentials.token:
            raise NotAuthenticated("There is no token to keep.", hint="Pass --token or set FLAAS_TOKEN.")
        body = {"url": credentials.url, "token": credentials.token}
        write_private(self._credentials_file, json.dumps(body).encode())

    def forget_credentials(self) -> bool:
        """Remove the stored credentials; tell whether there were any."""
        known = self._credentials_file.exists()
        self._credentials_file.unlink(missing_ok=True)
        return known

    @property
    def _credentials_file(self) -> Path:
        return self.path / "credentials.json"

    def _read_credentials(self) -> dict[str, str]:
        file = self._credentials_file
        if not file.exists():
            return {}
        try:
            body: Any = json.loads(file.read_text())
            if "sealed" in body:  # see `kept_sign_in`
                return {"url": str(body["url"]), "token": ""}
            return {"url": str(body["url"]), "token": str(body["token"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{file} cannot be read as credentials ({type(error).__name__}).",
                code="bad-credentials-file",
                hint="Remove it and run `flaas login` again.",
            ) from error
