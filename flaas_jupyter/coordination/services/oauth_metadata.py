"""What clients discover about the identity provider."""

from __future__ import annotations

from typing import Any

from ...governance.identity.clients import CLIENT_CREDENTIALS, CODE, DEVICE, INVITATION, REFRESH
from ...governance.identity.role_sessions import IDENTITY_SCOPES

Json = dict[str, Any]


def metadata(issuer: str) -> Json:
    """Return what clients discover (OpenID Connect Discovery 1.0; RFC 8414; RFC 8628; RFC 9207)."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [CODE, REFRESH, CLIENT_CREDENTIALS, DEVICE, INVITATION],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "scopes_supported": list(IDENTITY_SCOPES),
        "claims_supported": ["sub", "name", "email", "auth_time", "nonce", "at_hash"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["EdDSA", "Ed25519"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": ["EdDSA", "Ed25519"],
        "authorization_response_iss_parameter_supported": True,
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
