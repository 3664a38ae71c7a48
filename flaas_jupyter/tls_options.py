"""How a server of ours is told to speak TLS: the same four options for each, and the certificate that they mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from .home import Home

if TYPE_CHECKING:
    from .communications.server_certificate import ServerCertificate

C = TypeVar("C", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--tls-cert",
        type=click.Path(path_type=Path),
        envvar="FLAAS_TLS_CERT",
        help="Certificate chain in PEM. A renewed one is taken up by itself, or at once on SIGHUP.",
    ),
    click.option("--tls-key", type=click.Path(path_type=Path), envvar="FLAAS_TLS_KEY", help="Its key in PEM."),
    click.option(
        "--tls-private", is_flag=True, help="For trying out: a certificate authority of one's own, kept in FLAAS_HOME."
    ),
    click.option(
        "--tls-name", "tls_names", multiple=True, help="With --tls-private: a further name or address of this machine."
    ),
)


def tls_options(command: C) -> C:
    """Give `command` the options ``--tls-cert``, ``--tls-key``, ``--tls-private`` and ``--tls-name``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def server_certificate(
    host: str, chain: Path | None, key: Path | None, private: bool, names: tuple[str, ...]
) -> tuple[ServerCertificate | None, str | None]:
    """Return what to speak TLS with, if that is asked for, and the fingerprint of a private authority."""
    from .communications.private_authority import PrivateAuthority
    from .communications.server_certificate import ServerCertificate

    if (chain is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together.")
    if private and chain is not None:
        raise click.UsageError("Give --tls-private, or --tls-cert and --tls-key.")
    if names and not private:
        raise click.UsageError("--tls-name goes with --tls-private; a given certificate has its names in it.")
    if chain is not None and key is not None:
        return ServerCertificate(chain, key), None
    if not private:
        return None, None
    authority = PrivateAuthority(Home.default().tls, (host, *names))
    authority.renew()
    return ServerCertificate(authority.chain, authority.key, authority.renew), authority.trust.fingerprints[0]
