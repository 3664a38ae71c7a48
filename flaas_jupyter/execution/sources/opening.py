"""From an address to a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InvalidInput
from .addresses import refuse_credentials, scheme_of
from .source import Source

if TYPE_CHECKING:
    from ..policy import Policy


@dataclass(frozen=True)
class Request:
    """What a source is opened with; see `open_source`."""

    url: str
    home: Path
    policy: Policy
    query: str | None
    format: str | None
    secret: str | None
    texts: Sequence[str]
    by_operator: bool


def open_source(
    url: str | Path,
    *,
    home: Path,
    query: str | None = None,
    format: str | None = None,
    secret: str | None = None,
    texts: Sequence[str] = (),
    by_operator: bool = True,
) -> Source:
    """Return the source at an address; what is far away is not asked before rows or a stamp are wanted.

    Parameters
    ----------
    url : str or Path
        A path, folder or pattern of this machine, or ``file://``, ``s3://``, ``gs://``, ``az://``, ``abfss://``,
        ``https://``, or the SQLAlchemy URL of a data base. Never with credentials in it.
    home : Path
        `FLAAS_HOME` of the node; its ``node.toml`` is the policy.
    query : str, optional
        A single SELECT; for data bases, and needed there.
    format : str, optional
        A name of `FORMATS`, where the file's name does not tell; ``"images"`` for folders of images,
        ``"images:64x64"`` for one size.
    secret : str, optional
        Name of the secret (``flaas secret set NAME``) to be used, instead of the place's normal credentials.
    texts : sequence of str
        Columns to read as texts where the format leaves types open: ids such as ``007``.
    by_operator : bool
        Whether the node's owner has chosen the place, on the command line or in a notebook on the node; others may
        read from the policy's ``data_folders``, and the node's own folders of data, alone.

    Raises
    ------
    InvalidInput
        ``unknown-source``, ``credentials-in-url``, ``unknown-data-format``, ``bad-source``; and what the source raises.
    NotAllowed
        ``policy-data-folders``, ``link-out-of-folder``, ``own-home``, ``policy-data-hosts``.
    """
    from ..policy import policy_of
    from . import SOURCES

    text = str(url)
    refuse_credentials(text)
    request = Request(text, home, policy_of(home), query, format, secret, tuple(texts), by_operator)
    scheme = scheme_of(text) if isinstance(url, str) else ""
    opener = SOURCES.get(scheme.partition("+")[0])
    if opener is None:
        raise InvalidInput(
            f"{scheme}:// is no place that data can be read from; there are "
            f"{', '.join(sorted(f'{name}://' for name in SOURCES if name))} and paths of this machine.",
            code="unknown-source",
            hint="Copy the data to a place that is, or write them to a file.",
        )
    return opener()(request)
