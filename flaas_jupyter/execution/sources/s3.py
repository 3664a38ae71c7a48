"""Amazon S3, and stores that speak its protocol: ``s3://bucket/folder/loans.parquet``.

Credentials are AWS's normal chain (environment, ``~/.aws``, the machine's role), or a secret with
``access_key_id``, ``secret_access_key`` and perhaps ``session_token`` and ``region``. ``AWS_ENDPOINT_URL_S3`` names
another store, ``AWS_CA_BUNDLE`` a private authority for its certificate.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from .objects import endpoint, place_of, source_of
from .opening import Request
from .secrets import Secret
from .source import Source


def open_at(request: Request) -> Source:
    """Return the source of an ``s3://`` address; see `open_source`."""
    place = place_of(request.url, "s3")
    return source_of(request, place, partial(_connect, place.bucket, Secret.of(request)))


def _connect(bucket: str, secret: Secret | None) -> Any:
    from pyarrow import fs

    other = endpoint("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    options: dict[str, Any] = {"region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")}
    if other is not None:
        options |= {"endpoint_override": other.authority, "scheme": other.scheme}
    elif options["region"] is None:
        options["region"] = _region(bucket)
    if os.environ.get("AWS_CA_BUNDLE"):
        options["tls_ca_file_path"] = os.environ["AWS_CA_BUNDLE"]
    if secret is not None:
        known = secret.fields("access_key_id", "secret_access_key", optional=("session_token", "region"))
        options |= {"access_key": known["access_key_id"], "secret_key": known["secret_access_key"]}
        options["session_token"] = known.get("session_token")
        options["region"] = known.get("region") or options["region"]
    return fs.S3FileSystem(connect_timeout=10, request_timeout=60, **options)


def _region(bucket: str) -> str | None:
    from pyarrow import fs

    try:
        region: str = fs.resolve_s3_region(bucket)
    except OSError:  # the SDK's own default then; what is wrong shows when the bucket is read
        return None
    return region
