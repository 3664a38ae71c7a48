"""Any KMS, by a command: JSON in on standard input, JSON out on standard output, no SDK in this process.

``FLAAS_KMS_COMMAND`` is split as a shell would and started without one, once for each request, with a time limit of
``FLAAS_KMS_TIMEOUT`` seconds (10 by default). Binary values are base64, `context` is a mapping of texts that the KMS
should bind to the wrapped key (AWS KMS calls it encryption context, Vault's transit engine derivation context)::

    {"operation": "describe"}                                            -> {"key_id": "…"}
    {"operation": "wrap", "data_key": "…", "context": {…}}               -> {"wrapped": "…"}
    {"operation": "unwrap", "key_id": "…", "wrapped": "…", "context": {…}} -> {"data_key": "…"}

A failure is any exit status but 0; what the command writes to standard error goes to that of this process, never into
an answer. docs/confidentiality.md has such commands for AWS KMS and HashiCorp Vault.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import InvalidInput, Unreachable
from .key_services import KEY_BYTES
from .memory import CACHE_SECONDS

COMMAND, OLD_COMMAND = "FLAAS_KMS_COMMAND", "FLAAS_KMS_COMMAND_OLD"
_TIMEOUT = "FLAAS_KMS_TIMEOUT"
_SECONDS = 10.0
_MOST_BYTES = 64 * 1024
_PREFIX = "kms:"


class KmsCommand:
    """A key service that asks a command.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    seconds : float
        How long it may take.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self, command: Sequence[str], seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command = tuple(command)
        self._seconds = seconds
        self._clock = clock
        self._described: tuple[float, str] | None = None

    def __repr__(self) -> str:
        return f"KmsCommand({self._command[0]!r})"  # arguments could hold secrets

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], name: str = COMMAND) -> KmsCommand | None:
        """Return the command that variable `name` holds, or None.

        Raises
        ------
        InvalidInput
            Code ``bad-kms-command``.
        """
        text = environment.get(name, "").strip()
        if not text:
            return None
        try:
            command = shlex.split(text)
        except ValueError as error:
            raise _bad(f"{name} cannot be split into words ({error})") from error
        limit = environment.get(_TIMEOUT) or str(_SECONDS)
        try:
            seconds = float(limit)
        except ValueError as error:
            raise _bad(f"{_TIMEOUT} is {limit!r}") from error
        if not 0 < seconds <= 300:
            raise _bad(f"{_TIMEOUT} is {limit!r}")
        return cls(command, seconds)

    @property
    def key_id(self) -> str:
        """``kms:`` and the name that the command gives; asked for again after five minutes."""
        now = self._clock()
        if self._described is None or self._described[0] <= now:
            named = self._ask({"operation": "describe"}).get("key_id")
            if not isinstance(named, str) or not 0 < len(named) <= 500:
                raise _unavailable("it gives no key_id of 1 to 500 characters")
            self._described = (now + CACHE_SECONDS, _PREFIX + named)
        return self._described[1]

    def holds(self, key_id: str) -> bool:
        """Tell whether a KMS has wrapped it; whether this one has, it says itself."""
        return key_id.startswith(_PREFIX)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """Return the data key as the KMS has wrapped it.

        Raises
        ------
        Unreachable
            Code ``kms-unavailable``.
        """
        asked = {"operation": "wrap", "data_key": base64.b64encode(data_key).decode(), "context": dict(context)}
        wrapped = _binary(self._ask(asked), "wrapped")
        if data_key in wrapped:
            raise _unavailable("it gives the data key back as it is")
        return wrapped

    def unwrap(self, key_id: str, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Return the data key.

        Raises
        ------
        Unreachable
            Code ``kms-unavailable``: also where the KMS refuses, since who asked for the field can do nothing else.
        """
        asked = {
            "operation": "unwrap",
            "key_id": key_id.removeprefix(_PREFIX),
            "wrapped": base64.b64encode(wrapped).decode(),
            "context": dict(context),
        }
        data_key = _binary(self._ask(asked), "data_key")
        if len(data_key) != KEY_BYTES:
            raise _unavailable(f"its data key has {len(data_key)} bytes, not {KEY_BYTES}")
        return data_key

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
                self._command,
                input=json.dumps(asked).encode(),
                stdout=subprocess.PIPE,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Not chained: the exception would carry what was sent.
            raise _unavailable(f"it takes more than {self._seconds:g} s") from None
        except OSError as error:
            raise _unavailable(f"it cannot be started ({error.strerror})") from error
        if done.returncode != 0:
            raise _unavailable(f"it ends with status {done.returncode}")
        try:
            answer = json.loads(done.stdout) if len(done.stdout) <= _MOST_BYTES else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _unavailable("it does not answer with a JSON object")
        return answer


def _binary(answer: Mapping[str, Any], name: str) -> bytes:
    try:
        value = base64.b64decode(answer[name], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise _unavailable(f"its answer has no base64 {name!r}") from None
    if not value:
        raise _unavailable(f"its answer has an empty {name!r}")
    return value


def _unavailable(why: str) -> Unreachable:
    return Unreachable(
        f"The command of {COMMAND} does not do what was asked: {why}.",
        code="kms-unavailable",
        hint="Its own messages are in the API's log; try it with `flaas keys status`.",
    )


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The KMS cannot be used: {why}.",
        code="bad-kms-command",
        hint='Give a program with its arguments, e.g. "python3 /etc/flaas/aws_kms.py", and at most 300 seconds.',
    )
