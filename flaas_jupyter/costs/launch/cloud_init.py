"""The cloud-init document with which a machine becomes a node. JSON is YAML, so it is JSON after its first line.

Nothing secret is in it but the single-use enrolment secret, since user data can be read on the machine for as long as
it runs. The node makes its own key, swaps the secret for its registration and forgets it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import InvalidInput

LIMIT: Final = 16 * 1024
"""AWS takes 16 KiB of user data, the others more."""
SECRET_PLACE: Final = "{{enrolment-secret}}"  # noqa: S105 - a place, not a secret
"""Where the secret goes in a document that is kept."""
NODE_FILE: Final = "/etc/flaas/node.json"
_FIRST_LINE: Final = "#cloud-config\n"
_SAFE = re.compile(r"[A-Za-z0-9._~:/+@=,\[\]-]+")

_UNIT: Final = """\
[Unit]
Description=flaas node
Wants=network-online.target
After=network-online.target

[Service]
User=flaas
Group=flaas
Environment=FLAAS_HOME=/var/lib/flaas
Environment=TF_CPP_MIN_LOG_LEVEL=3
StateDirectory=flaas
StateDirectoryMode=0700
ExecStart=/opt/flaas/bin/flaas node boot /etc/flaas/node.json
Restart=on-failure
RestartSec=15
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/etc/flaas
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=no
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
UMask=0077

[Install]
WantedBy=multi-user.target
"""

_END: Final = """\
[Unit]
Description=End this machine: its time is over

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl poweroff
"""

_END_TIMER: Final = """\
[Unit]
Description=End this machine {minutes} minutes after it booted

[Timer]
OnBootSec={minutes}min

[Install]
WantedBy=timers.target
"""


@dataclass(frozen=True)
class Software:
    """What is installed on a machine.

    Parameters
    ----------
    requirement : str
        Of pip: ``flaas_jupyter[node]==0.1.0``, or the https address of a wheel.
    index : str, optional
        Package index; pip's own if None.
    """

    requirement: str
    index: str | None = None

    def __post_init__(self) -> None:
        for value in (self.requirement, self.index):
            if value is not None and not _SAFE.fullmatch(value):
                raise InvalidInput(
                    f"{value!r} cannot be given to pip on a machine.",
                    code="bad-setting",
                    hint="Give a requirement such as flaas_jupyter[node]==0.1.0 or an https address, without spaces.",
                )


def build(node: Mapping[str, Any], software: Software, max_minutes: int) -> str:
    """Return the document; the same arguments give the same bytes.

    Parameters
    ----------
    node : mapping
        Content of the machine's ``node.json``; see `flaas_jupyter.execution.booting`.
    software : Software
        What to install.
    max_minutes : int
        After so long the machine shuts down, whatever has become of the API (a dead-man's switch).

    Raises
    ------
    InvalidInput
        Code ``user-data-too-large``: above 16 KiB.
    """
    install = ["/opt/flaas/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    if software.index is not None:
        install += ["--index-url", software.index]
    content = {
        "users": [{"name": "flaas", "system": True, "lock_passwd": True, "shell": "/usr/sbin/nologin"}],
        "ssh_pwauth": False,
        "write_files": [
            {
                "path": NODE_FILE,
                "permissions": "0600",
                "content": json.dumps(node, sort_keys=True, separators=(",", ":")) + "\n",
            },
            {"path": "/etc/systemd/system/flaas-node.service", "permissions": "0644", "content": _UNIT},
            {"path": "/etc/systemd/system/flaas-end.service", "permissions": "0644", "content": _END},
            {
                "path": "/etc/systemd/system/flaas-end.timer",
                "permissions": "0644",
                "content": _END_TIMER.format(minutes=max_minutes),
            },
        ],
        "runcmd": [
            # Before all that can fail: a machine whose set-up breaks must end too. The timer outlives a reboot.
            ["shutdown", "-P", f"+{max_minutes}"],
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "flaas-end.timer"],
            ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "update"],
            ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install", "python3-venv"],
            ["chown", "-R", "flaas:flaas", "/etc/flaas"],
            ["chmod", "0700", "/etc/flaas"],
            ["python3", "-m", "venv", "/opt/flaas"],
            [*install, software.requirement],
            ["systemctl", "enable", "--now", "flaas-node.service"],
        ],
    }
    document = _FIRST_LINE + json.dumps(content, indent=1) + "\n"
    size = len(document.encode()) + 64  # the secret is longer than its place
    if size > LIMIT:
        raise InvalidInput(
            f"The machine's set-up takes {size} bytes; clouds take {LIMIT}.",
            code="user-data-too-large",
            hint="Shorten the data set's address.",
        )
    return document


def with_secret(document: str, secret: str) -> str:
    """Return `document` as the cloud is given it."""
    return document.replace(SECRET_PLACE, secret)


def node_of(document: str) -> dict[str, Any]:
    """Return the content of ``node.json`` in a document of `build`.

    Raises
    ------
    InvalidInput
        Code ``bad-user-data``.
    """
    try:
        first, _, rest = document.partition("\n")
        if first + "\n" != _FIRST_LINE:
            raise ValueError(first)
        files = json.loads(rest)["write_files"]
        content = json.loads(next(file["content"] for file in files if file["path"] == NODE_FILE))
        if not isinstance(content, dict):
            raise TypeError(type(content))
    except (ValueError, LookupError, TypeError, StopIteration) as error:
        raise InvalidInput(
            f"The order's user data do not set up a node ({type(error).__name__}).", code="bad-user-data"
        ) from error
    return content
