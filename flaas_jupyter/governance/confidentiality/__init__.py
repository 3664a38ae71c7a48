"""What is personal or secret stays sealed at rest: envelope encryption, and forgetting by deleting a key."""

from . import sealed_columns
from .key_services import KeyService, LocalKeys
from .kms import KmsCommand
from .tables import DataKey
from .vault import INSTALLATION, Vault, organisation, person

__all__ = [
    "INSTALLATION",
    "DataKey",
    "KeyService",
    "KmsCommand",
    "LocalKeys",
    "Vault",
    "organisation",
    "person",
    "sealed_columns",
]
