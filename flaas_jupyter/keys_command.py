"""`flaas keys`: the keys that seal what the API keeps, on the machine of the API itself.

These commands open the data base and the key file directly, as whoever runs the API can do anyway; nothing of them is
reachable over the network. No key is ever printed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .errors import Conflict
from .home import Home
from .terminal import told

DATABASE = click.option("--database", metavar="URL", help="Default: FLAAS_DATABASE_URL, else the SQLite file.")


@click.group()
def keys() -> None:
    """Keys that seal names, addresses and cloud credentials (run where the API runs)."""


@keys.command()
@DATABASE
@told
def status(database: str | None) -> None:
    """Show which key has wrapped how many data keys, and whether older ones are still needed."""
    from .costs.secrets import Keyring
    from .governance.confidentiality import Vault

    opened = _open(database)
    try:
        vault, ring = Vault.load(), Keyring.load()
        with opened.reading() as session:
            uses = vault.usage(session)
            stale = [row.id for row in _accounts(session) if not ring.is_present(row.sealed)]
    finally:
        opened.close()
    for use in uses:
        told = "present" if use.present else "older" if use.held else "MISSING"
        click.echo(f"{use.kek_id}  {told}  {use.data_keys} data keys")
    click.echo(f"cloud accounts sealed with an older key: {len(stale)}")
    if any(not use.held for use in uses):
        raise Conflict(
            "Data keys were wrapped by a key that is not here: what they seal cannot be read.",
            code="data-key-unreadable",
            hint="Restore it (FLAAS_SECRETS_KEY_OLD, secrets.key.old or FLAAS_KMS_COMMAND).",
        )


@keys.command()
@DATABASE
@click.option("--new", is_flag=True, help="Make a new secret key first; the one before is kept in secrets.key.old.")
@click.option("--everything", is_flag=True, help="Wrap anew what the present key has wrapped, too (a KMS has rotated).")
@click.option("--forget-old", is_flag=True, help="Delete secrets.key.old once nothing needs it.")
@told
def rotate(database: str | None, new: bool, everything: bool, forget_old: bool) -> None:
    """Wrap all data keys, and seal cloud credentials, with the present key.

    Sealed fields are not written. Other API processes go on reading as long as they have both keys; restart them with
    the new one before --forget-old.
    """
    from .costs.secrets import Keyring
    from .governance import audit
    from .governance.confidentiality import Vault
    from .governance.confidentiality.installation import forget_old_keys, replace_secret_key

    opened = _open(database)
    try:
        if new:
            replace_secret_key(os.environ, Home.default())
        vault, ring = Vault.load(), Keyring.load()
        with opened.writing() as session:
            wrapped = vault.rewrap(session, everything=everything)
            sealed = 0
            for row in _accounts(session):
                if not ring.is_present(row.sealed):
                    credentials = ring.open(row.sealed, row.organisation, row.id)
                    row.sealed = ring.seal(credentials, row.organisation, row.id)
                    sealed += 1
            done = {"new_key": new, "everything": everything, "wrapped_count": wrapped, "sealed_count": sealed}
            audit.append_command(session, "key:wrap", "keys", done)
    finally:
        opened.close()
    click.echo(f"{wrapped} data keys wrapped and {sealed} cloud accounts sealed with the present key.")
    if forget_old:
        click.echo(f"{forget_old_keys()} older keys deleted.")


@keys.command()
@click.argument("owner")
@DATABASE
@told
def renew(owner: str, database: str | None) -> None:
    """Give OWNER a new data key and seal its fields with it, e.g. person:p-1 or installation."""
    from .coordination import tables as _tables  # noqa: F401 - declares what is sealed
    from .governance import audit
    from .governance.confidentiality import Vault, sealed_columns
    from .governance.identity import tables as _identity  # noqa: F401

    opened = _open(database)
    try:
        vault = Vault.load()
        with opened.writing() as session:
            version = vault.rotate(session, owner)
            fields = sealed_columns.reseal(session, vault, owner)
            audit.append_command(session, "key:renew", owner, {"version": version, "sealed_count": fields})
    finally:
        opened.close()
    click.echo(f"Data key {version} of {owner}: {fields} fields sealed anew.")


@keys.command("export-public")
@DATABASE
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File; default: standard output.")
@told
def export_public(database: str | None, output: Path | None) -> None:
    """Write the public halves of the keys that sign tokens (a JWK set, RFC 7517), for whoever checks tokens offline."""
    import json
    from datetime import UTC, datetime

    from .governance.identity import keys as signing

    opened = _open(database)
    try:
        with opened.reading() as session:
            published = json.dumps(signing.jwk_set(session, datetime.now(UTC)), indent=2)
    finally:
        opened.close()
    if output is None:
        click.echo(published)
    else:
        output.write_text(published + "\n")


def _open(url: str | None) -> Any:
    from .coordination.database import Database

    database = Database(url or Home.default().database_url)
    database.migrate()
    return database


def _accounts(session: Any) -> list[Any]:
    from sqlalchemy import select

    from .costs.accounts import CloudAccount

    return list(session.scalars(select(CloudAccount).where(CloudAccount.removed.is_(None), CloudAccount.sealed != "")))
