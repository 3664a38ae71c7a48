"""The refusals that the OpenAPI document declares of each operation, from what the operation takes.

An operation answers problem details (RFC 9457) in every case that these do not name, too: that is the document's
``default``. What is named here is what a client meets in ordinary use.
"""

from __future__ import annotations

from typing import Any

from .problems import MEDIA_TYPE

_TOLD = {
    "304": "It is as the entity tag in If-None-Match says",
    "400": "The request cannot be read",
    "401": "Nobody is signed in, or the token has expired",
    "403": "The caller may not do this",
    "404": "There is none, or none that the caller may see",
    "406": "There is no form that is accepted",
    "409": "The present state does not permit it",
    "412": "It was changed meanwhile: If-Match names another version",
    "413": "The body is too large",
    "415": "The body is no JSON",
    "422": "The request is not valid; `errors` says where",
    "428": "If-Match is missing: it names the version that is to be changed",
    "429": "Too many requests; Retry-After says when to try again",
    "503": "The data base or something else that is needed is away; Retry-After says when to try again",
}
_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_METHODS = ("get", "put", "post", "delete", "patch")


def add(document: dict[str, Any]) -> dict[str, Any]:
    """Declare the refusals of all operations of an OpenAPI document, in place, and return it.

    What a route declares itself stays.
    """
    for methods in document["paths"].values():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                answers = operation["responses"]
                for status in _statuses(method, operation):
                    told = {"description": _TOLD[status]}
                    answers.setdefault(status, told if status == "304" else {**told, **_PROBLEM})
                operation["responses"] = dict(sorted(answers.items()))  # digits come before "default"
    return document


def _statuses(method: str, operation: dict[str, Any]) -> list[str]:
    # An address can hold what none may; a credential that is wrong is refused where none is needed; what the address,
    # the query or the body names may not be there; the data base can be away.
    found = ["401", "404", "422", "503"]
    if operation.get("security"):
        found += ["403", "429"]
    if method == "get":
        found.append("304")
    else:
        found += ["409", "413", "415"]
    if method in ("put", "patch", "delete"):
        found += ["412", "428"]
    return found
