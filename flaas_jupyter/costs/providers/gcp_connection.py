"""Signing in to Google Cloud with a service account's key, asking its REST interfaces, and reading its refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from ...errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotFound
from ..driver import (
    CloudUnreachable,
    CredentialsRefused,
    Endpoint,
    NotOffered,
    PermissionMissing,
    QuotaExceeded,
    Throttled,
)

TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 30.0  # seconds without a byte from Google
WAIT_TIMEOUT = 150.0  # Google holds a call that waits for an operation for up to two minutes

_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,63}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_PERMISSION = re.compile(r"\b(?:compute|bigquery|billing|iam|resourcemanager|serviceusage)\.[a-zA-Z]+\.[a-zA-Z]+\b")
_BEARER = re.compile(r"ya29\.\S+|eyJ[\w.-]{20,}|-----BEGIN.*", re.DOTALL)
_EXHAUSTED = ("ZONE_RESOURCE_POOL_EXHAUSTED", "RESOURCE_POOL_EXHAUSTED", "STOCKOUT")
_QUOTA = ("QUOTA_EXCEEDED", "quotaExceeded")
_THROTTLED = ("rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")


class MachinesExhausted(NotOffered):
    """A zone has no such machine left at the moment; another zone may."""


class NoSuchResource(NotFound):
    """Google answered 404; whoever asked knows what that means."""

    code = "cloud-404"


class AlreadyThere(Conflict):
    """Google answered 409: there is one of that name already."""

    code = "cloud-409"


@dataclass(frozen=True, repr=False)
class ServiceAccount:
    """The parts of a key that are used; whatever else a key's document holds is not passed on.

    A document of credentials may name programs to run, files to read and hosts to ask. This comes from a user and is
    read on a server, so only the plain kind is taken, and only with Google's own token endpoint or one that the
    operator configured.
    """

    email: str
    project: str
    key_id: str
    private_key: str
    token_uri: str

    @classmethod
    def read(cls, document: str, project: str, endpoint: Endpoint) -> ServiceAccount:
        """Check a key.

        Parameters
        ----------
        document : str
            Text of the JSON file.
        project : str
            Id of a project; that of the key if empty.
        endpoint : Endpoint

        Raises
        ------
        InvalidInput
            ``bad-credentials``; nothing of the document is quoted but its type.
        """
        try:
            key = json.loads(document)
        except ValueError:
            raise _bad_key("The service account key is not JSON.") from None
        if not isinstance(key, dict) or key.get("type") != "service_account":
            raise _bad_key("The document is not the key of a service account (its type is not 'service_account').")
        names = ("client_email", "private_key", "token_uri")
        absent = [name for name in names if not (isinstance(key.get(name), str) and key[name])]
        if absent:
            raise _bad_key(f"The service account key has no {', '.join(absent)}.")
        if key.get("universe_domain", "googleapis.com") != "googleapis.com":
            raise _bad_key("The service account key is for another cloud than googleapis.com.")
        if key["token_uri"] != TOKEN_URI and not (endpoint.base and _same_origin(key["token_uri"], endpoint.base)):
            raise _bad_key(
                f"The service account key asks for tokens at an address that is not {endpoint.base or TOKEN_URI}."
            )
        project = project or str(key.get("project_id") or "")
        if not _PROJECT.fullmatch(project):
            raise InvalidInput(
                f"{project[:70]!r} is no id of a Google Cloud project.",
                code="bad-credentials",
                hint="Ids have 6 to 30 lower-case letters, digits and '-'; the name and the number are something else.",
            )
        return cls(
            key["client_email"], project, str(key.get("private_key_id") or ""), key["private_key"], key["token_uri"]
        )


class GcpConnection:
    """Calls to Google Cloud as one service account.

    Parameters
    ----------
    account : ServiceAccount
    endpoint : Endpoint
        Where all of Google's interfaces are reached, if not at their own addresses.
    """

    def __init__(self, account: ServiceAccount, endpoint: Endpoint) -> None:
        self.account = account
        self.endpoint = endpoint

    @cached_property
    def credentials(self) -> Any:
        """google-auth's credentials."""
        from google.oauth2 import service_account

        account = self.account
        try:
            return service_account.Credentials.from_service_account_info(
                {
                    "type": "service_account",
                    "client_email": account.email,
                    "private_key": account.private_key,
                    "private_key_id": account.key_id,
                    "token_uri": account.token_uri,
                    "project_id": account.project,
                },
                scopes=[SCOPE],
            )
        except Exception:  # a parser's message might quote the key
            raise _bad_key("The private key in the service account key cannot be read.") from None

    @cached_property
    def session(self) -> Any:
        """A `requests` session that signs in by itself and trusts `Endpoint.ca`."""
        import requests
        from google.auth.transport.requests import AuthorizedSession, Request

        signing_in = requests.Session()
        session = AuthorizedSession(
            self.credentials, auth_request=Request(signing_in), refresh_timeout=TIMEOUT, default_host=None
        )
        self.trust(signing_in)
        self.trust(session)
        return session

    def trust(self, session: Any) -> None:
        """Make a session trust `Endpoint.ca`, whatever the process's environment says."""
        from requests.adapters import HTTPAdapter

        if self.endpoint.ca is None:
            return
        ca: str = self.endpoint.ca

        class Trusting(HTTPAdapter):
            # Session.verify alone would lose to REQUESTS_CA_BUNDLE in the environment
            def send(self, request: Any, stream: bool = False, timeout: Any = None, verify: Any = True,
                     cert: Any = None, proxies: Any = None) -> Any:  # fmt: skip
                return super().send(request, stream=stream, timeout=timeout, verify=ca, cert=cert, proxies=proxies)

        session.verify = ca
        session.mount("https://", Trusting())

    def url(self, host: str, path: str) -> str:
        """Return the address of `path` at ``https://<host>.googleapis.com``, or at the endpoint."""
        return f"{self.endpoint.base or f'https://{host}.googleapis.com'}{path}"

    def sign_in(self) -> None:
        """Get a token.

        Raises
        ------
        CredentialsRefused, Throttled, CloudUnreachable
        """
        with _translated():
            self.credentials.refresh(self.session._auth_request)

    def ask(self, method: str, url: str, *, body: Any = None, timeout: float | None = None, **query: Any) -> Any:
        """Send one call and return the JSON that comes back.

        Raises
        ------
        NoSuchResource, AlreadyThere, CredentialsRefused, PermissionMissing, Throttled, QuotaExceeded, NotOffered,
        CloudUnreachable, NotAllowed, Conflict
        """
        timeout = TIMEOUT if timeout is None else timeout
        with _translated():
            answer = self.session.request(
                method, url, params=query or None, json=body, timeout=timeout, allow_redirects=False
            )
        if 300 <= answer.status_code < 400:
            raise CloudUnreachable("Google Cloud answered with a redirection, which is not followed.")
        try:
            content = answer.json()
        except ValueError:
            if answer.status_code < 400:
                raise CloudUnreachable("Google Cloud answered with something that is not JSON.") from None
            content = {}
        if answer.status_code >= 400:
            raise refusal(answer.status_code, content, answer.headers.get("Retry-After"))
        if not isinstance(content, dict):
            raise CloudUnreachable("Google Cloud answered with something that is not a JSON object.")
        return content

    def pages(self, url: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield all pages of a list."""
        token = ""
        while True:
            asked = {**query, "pageToken": token} if token else query
            page = self.ask("GET", url, **asked)
            yield page
            token = page.get("nextPageToken") or ""
            if not token:
                return

    def translated(self) -> _translated:
        """Return a context in which the errors of Google's libraries become those of the drivers."""
        return _translated()


class _translated:
    """Turn what google-auth, google-api-core and requests raise into the drivers' errors, without their texts."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, FlaasError):
            return
        translation = _translation(error)
        if translation is not None:
            raise translation from None


def _translation(error: BaseException) -> FlaasError | None:
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, auth.RefreshError):
        answer = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], Mapping) else {}
        word = str(answer.get("error") or "")
        if word in ("invalid_grant", "invalid_client", "unauthorized_client", "deleted_client", "disabled_client"):
            return _refused(word)
        if word in _THROTTLED or "rate" in word:
            return Throttled("Google Cloud's sign-in asks to come back later.", retry_after=30)
        if error.retryable or not answer:
            return CloudUnreachable("Google Cloud's sign-in failed on its side.", hint="Try again in a while.")
        return _refused(word[:40])
    if isinstance(error, (auth.TransportError, requests.exceptions.RequestException, TimeoutError)):
        return CloudUnreachable(
            "Google Cloud gave no answer, or half an answer.", hint="Try again in a while.", reason=type(error).__name__
        )
    if isinstance(error, auth.GoogleAuthError):
        return _refused(type(error).__name__)
    if isinstance(error, api.GoogleAPICallError):
        return refusal(int(error.code or 500), _as_content(error), None)
    if isinstance(error, api.GoogleAPIError | ValueError):  # a deadline, or an answer that cannot be parsed
        return CloudUnreachable("Google Cloud gave no answer, or half an answer.", reason=type(error).__name__)
    return None


def _as_content(error: Any) -> dict[str, Any]:
    """Return a library's error as the JSON that it was made from."""
    errors = [each for each in error.errors or () if isinstance(each, Mapping)]
    return {"error": {"message": error.message or "", "errors": errors, "status": ""}}


def refusal(status: int, content: Any, retry_after: str | None = None) -> FlaasError:
    """Return what a refusal by Google means.

    Parameters
    ----------
    status : int
        Of HTTP.
    content : dict
        The answer: ``{"error": {"message", "status", "errors": [{"reason"}], "details": [{"reason"}]}}``.
    retry_after : str, optional
        Header of that name.
    """
    error = content.get("error") if isinstance(content, Mapping) else None
    error = error if isinstance(error, Mapping) else {}
    reasons = {str(error.get("status") or "")}
    for each in (*(error.get("errors") or ()), *(error.get("details") or ())):
        if isinstance(each, Mapping):
            reasons.add(str(each.get("reason") or ""))
    said = _BEARER.sub("...", str(error.get("message") or ""))[:300]
    if status == 401:
        return _refused("401")
    if status == 429 or reasons & {*_THROTTLED}:
        seconds = int(retry_after) if retry_after and retry_after.isdigit() else 30
        return Throttled(f"Google Cloud asks to come back in {seconds} s.", retry_after=seconds)
    if status >= 500 or status == 408:
        return CloudUnreachable(f"Google Cloud failed with {status}.", hint="Try again in a while.")
    if reasons & {*_QUOTA}:
        return quota_exceeded(said)
    if "resourceNotReady" in reasons:  # a network that somebody else is just making
        return Throttled("Google Cloud is still preparing what this needs.", retry_after=10)
    if "bytesBilledLimitExceeded" in reasons:
        return Conflict(
            "The query of the billing export would read more than it may.",
            code="cloud-query-too-large",
            hint="Ask for fewer days.",
        )
    if reasons & {"accessNotConfigured", "SERVICE_DISABLED"}:
        return PermissionMissing(
            f"An interface is switched off in this Google Cloud project: {said}",
            code="cloud-api-disabled",
            hint="gcloud services enable compute.googleapis.com cloudbilling.googleapis.com bigquery.googleapis.com "
            "cloudresourcemanager.googleapis.com",
        )
    if status == 403:
        return _permission_missing(said)
    if status == 404:
        return NoSuchResource(f"Google Cloud found no such thing: {said}")
    if status == 409:
        return AlreadyThere(f"Google Cloud has that already: {said}")
    if status == 412:
        return NotAllowed(f"A policy of the Google Cloud organisation refuses this: {said}", code="cloud-policy")
    return Conflict(f"Google Cloud refused with {status}: {said}", code="cloud-refused")


def operation_failure(operation: Mapping[str, Any]) -> FlaasError | None:
    """Return what a finished operation of Compute Engine complains about, None if nothing."""
    errors = (operation.get("error") or {}).get("errors") or ()
    if not errors:
        return None
    code, said = str(errors[0].get("code") or ""), _BEARER.sub("...", str(errors[0].get("message") or ""))[:300]
    if code.startswith(_EXHAUSTED):
        return MachinesExhausted(f"Google Cloud has none left: {said}", hint="Try another region or machine.")
    if code in _QUOTA:
        return quota_exceeded(said)
    if code in ("RESOURCE_NOT_FOUND", "UNSUPPORTED_OPERATION"):
        return NotOffered(
            f"Google Cloud does not offer this: {said}", hint="Take another machine type, region or market."
        )
    if code in ("RESOURCE_ALREADY_EXISTS",):
        return AlreadyThere(f"Google Cloud has that already: {said}")
    if code in ("PERMISSIONS_ERROR", "RESOURCE_FORBIDDEN"):
        return _permission_missing(said)
    if code in ("INTERNAL_ERROR", "SERVICE_UNAVAILABLE"):
        return CloudUnreachable("Google Cloud failed while it worked.", hint="Try again in a while.")
    return Conflict(f"Google Cloud could not do it ({code[:60]}): {said}", code="cloud-refused")


def quota_exceeded(said: str) -> QuotaExceeded:
    """Return the error for a limit of the project."""
    return QuotaExceeded(
        f"A limit of this Google Cloud project is reached: {said}",
        hint="Ask for more under IAM & Admin, Quotas, or take another region or machine.",
    )


def _permission_missing(said: str) -> PermissionMissing:
    found = _PERMISSION.search(said.replace("googleapis.com", ""))
    permission = found[0] if found else ""
    if "Access Denied: Table" in said:  # the only refusal that names the table and not the permission
        permission = "bigquery.tables.getData"
    if not permission:
        return PermissionMissing(f"Google Cloud does not allow this: {said}", permission="")
    return PermissionMissing(
        f"The service account lacks the permission {permission}.",
        hint="Grant it the custom role of docs/clouds/gcp-role.yaml (docs/clouds/gcp.md says how).",
        permission=permission,
    )


def _refused(word: str) -> CredentialsRefused:
    return CredentialsRefused(
        f"Google Cloud does not accept this service account's key ({word}).",
        hint="Was the key deleted or the account disabled? Make a new key, and check this machine's clock.",
    )


def _bad_key(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        code="bad-credentials",
        hint="Give the whole JSON file that 'gcloud iam service-accounts keys create' writes.",
    )


def _same_origin(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]
