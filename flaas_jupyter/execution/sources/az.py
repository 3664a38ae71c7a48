"""Azure Blob Storage: ``az://container/folder/loans.parquet``, ``abfss://container@account.dfs.core.windows.net/…``.

The account is in the address (``container@account``), or in ``AZURE_STORAGE_ACCOUNT``. Credentials are Azure's normal
chain (``az login``, managed identity, ``AZURE_STORAGE_KEY``, ``AZURE_STORAGE_SAS_TOKEN``), or a secret that is a SAS
token, an account key, or has ``account_key``, ``sas_token`` or ``tenant_id``, ``client_id`` and ``client_secret``.
``AZURE_STORAGE_SERVICE_ENDPOINT`` names another store.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Any

from ...errors import InvalidInput
from .objects import Place, bucket_name, endpoint, object_key, source_of
from .opening import Request
from .secrets import Secret
from .source import Source

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_HOSTS = re.compile(r"\.(dfs|blob)\.core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)$")
_KEYS = ({"account_key"}, {"sas_token"}, {"tenant_id", "client_id", "client_secret"})


def open_at(request: Request) -> Source:
    """Return the source of an ``az://`` or ``abfss://`` address; see `open_source`."""
    where, _, key = request.url.partition("://")[2].partition("/")
    container, _, host = where.partition("@")
    account = _HOSTS.sub("", host) or os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    if not _ACCOUNT.fullmatch(account):
        raise InvalidInput(
            "It is not known whose container that is: write az://CONTAINER@ACCOUNT/FOLDER/FILE.parquet.",
            code="bad-source",
            hint="Or set AZURE_STORAGE_ACCOUNT.",
        )
    place = Place("az", bucket_name(container, "az"), object_key(key), account if host else "")
    return source_of(request, place, partial(_connect, account, Secret.of(request)))


def _connect(account: str, secret: Secret | None) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {}
    other = endpoint("AZURE_STORAGE_SERVICE_ENDPOINT")
    if other is not None:
        for kind in ("blob", "dfs"):
            options |= {f"{kind}_storage_authority": other.authority, f"{kind}_storage_scheme": other.scheme}
    if secret is not None:
        options |= _credentials(secret)
    elif os.environ.get("AZURE_STORAGE_KEY"):
        options["account_key"] = os.environ["AZURE_STORAGE_KEY"]
    elif os.environ.get("AZURE_STORAGE_SAS_TOKEN"):
        options["sas_token"] = _query(os.environ["AZURE_STORAGE_SAS_TOKEN"])
    try:
        return fs.AzureFileSystem(account, **options)
    except ValueError as error:
        raise InvalidInput(
            "The credentials for Azure cannot be used as they are.",
            code="bad-secret",
            hint="A SAS token, an account key, or JSON with tenant_id, client_id and client_secret.",
        ) from error


def _credentials(secret: Secret) -> dict[str, str]:
    known = secret.document()
    if known is None:
        token = "sig=" in secret.value and "=" in secret.value
        return {"sas_token": _query(secret.value)} if token else {"account_key": secret.value}
    for keys in _KEYS:
        if keys <= known.keys():
            return {key: _query(known[key]) if key == "sas_token" else known[key] for key in keys}
    raise InvalidInput(
        f"Secret {secret.name!r} has not what Azure wants.",
        code="bad-secret",
        hint="A SAS token, an account key, or JSON with tenant_id, client_id and client_secret.",
    )


def _query(token: str) -> str:
    return "?" + token.strip().lstrip("?")
