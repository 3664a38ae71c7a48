"""The identity provider: OAuth 2.0 and OpenID Connect (docs/signing-in.md). These answer in OAuth's own forms."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute

from ...governance.identity import keys
from ...governance.identity.oauth_errors import OAuthError
from ...governance.identity.provider import IdentityProvider, issuer_of
from .. import identity_schemas as schemas
from ..calls import audience, hosted_of
from ..services import oauth_pages
from ..services.oauth import Form, OAuth
from ..services.oauth_browser import FORM_COOKIE, SIGN_IN_COOKIE, BrowserFlows, Page, Redirect, Visitor
from ..services.oauth_metadata import metadata

_FORM = "application/x-www-form-urlencoded"
_LIMIT, _FIELDS = 16 * 1024, 40
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PATH = "/oauth"


class OAuthRoute(APIRoute):
    """Answers refusals in the form of OAuth (RFC 6749, section 5.2)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with its refusals turned into answers."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthError as error:
                return _refusal(error)

        return handled


class PageRoute(APIRoute):
    """Answers refusals with a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with its refusals turned into pages."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthError as error:
                html = oauth_pages.message("This does not work", error.description)
                # Not 401: a browser has nothing to present.
                status = 400 if error.status == 401 else error.status
                return HTMLResponse(html, status, headers={**oauth_pages.headers(), **error.headers})

        return handled


_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.OAuthProblem, "description": "Refused"} for status in (400, 401, 403, 413, 415, 429)
}
_NO_PAGE: dict[int | str, dict[str, Any]] = {
    status: {"content": {"text/html": {}}, "description": "A page that says why not"}
    for status in (400, 403, 413, 415, 429)
}
_PAGES: dict[int | str, dict[str, Any]] = {
    **_NO_PAGE,
    303: {"description": "Back to the client, with a code or with what went wrong"},
}
programs = APIRouter(tags=["identity"], route_class=OAuthRoute, default_response_class=JSONResponse)
people = APIRouter(tags=["identity"], route_class=PageRoute)


class JwkSetResponse(JSONResponse):
    """A set of keys (RFC 7517, section 8.5.2)."""

    media_type = "application/jwk-set+json"


def _takes(required: str, optional: str = "") -> dict[str, Any]:
    """Return the description of a form, by the names of its parameters."""
    names = [*required.split(), *optional.split()]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": required.split(),
    }
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}}


async def _form(request: Request) -> Form:
    """Return the parameters of a form, each at most once (RFC 6749, section 3.1)."""
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LIMIT:
            raise OAuthError("invalid_request", f"The body has more than {_LIMIT} bytes.", status=413)
    if body and media != _FORM:
        raise OAuthError("invalid_request", f"Send the parameters as {_FORM}.", status=415)
    return _parameters(bytes(body))


def _query(request: Request) -> Form:
    """Return the parameters of an address, each at most once."""
    raw: bytes = request.scope.get("query_string", b"")
    if len(raw) > _LIMIT:
        raise OAuthError("invalid_request", f"The query has more than {_LIMIT} bytes.")
    return _parameters(raw)


def _parameters(raw: bytes) -> Form:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError as error:
        raise OAuthError("invalid_request", "The parameters are not URL-encoded UTF-8, or too many.") from error
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OAuthError("invalid_request", f"The parameter {twice[:40]} was sent twice.")
    if any("\x00" in text for pair in pairs for text in pair):
        raise OAuthError("invalid_request", "A parameter holds a zero byte.")
    return {name: value for name, value in pairs if value}


FormIn = Annotated[Form, Depends(_form)]
QueryIn = Annotated[Form, Depends(_query)]


def _provider(request: Request) -> IdentityProvider:
    return hosted_of(request).provider


def _issuer(request: Request) -> str:
    issuer = issuer_of(audience(request, hosted_of(request)))
    if not issuer:
        raise OAuthError("invalid_request", "The Host header names no host.")
    return issuer


def _oauth(request: Request) -> OAuth:
    return OAuth(_provider(request), hosted_of(request).database, _issuer(request))


def _flows(request: Request) -> BrowserFlows:
    oauth = _oauth(request)
    return BrowserFlows(_provider(request), hosted_of(request).database, _issuer(request), oauth)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _no_basic(request: Request) -> None:
    if request.headers.get("Authorization", "").lower().startswith("basic "):
        raise OAuthError(
            "invalid_client",
            "No client has a secret here: send client_id in the body, or a client assertion.",
            headers={"WWW-Authenticate": 'Basic realm="flaas"'},
        )


# ---- what programs call ---------------------------------------------------------------------------------------------


@programs.get("/.well-known/openid-configuration", response_model=schemas.Metadata, responses=_REFUSED)
def read_openid_configuration(request: Request) -> Response:
    """Where the identity provider's end points are (OpenID Connect Discovery 1.0)."""
    return JSONResponse(metadata(_issuer(request)), headers={"Cache-Control": "public, max-age=3600", "Vary": "Host"})


@programs.get("/.well-known/oauth-authorization-server", response_model=schemas.Metadata, responses=_REFUSED)
def read_oauth_metadata(request: Request) -> Response:
    """The same by RFC 8414."""
    return read_openid_configuration(request)


@programs.get("/oauth/jwks", response_model=schemas.JwkSet, response_class=JwkSetResponse)
def read_keys(request: Request) -> Response:
    """The public keys that tokens are verified with, also those that will sign soon (RFC 7517)."""
    with hosted_of(request).database.reading() as session:
        found = keys.jwk_set(session, _provider(request).now())
    cache = f"public, max-age={keys.CACHE_SECONDS}"
    return JwkSetResponse(found, headers={"Cache-Control": cache})


@programs.post(
    "/oauth/token",
    response_model=schemas.TokenAnswer,
    responses=_REFUSED,
    openapi_extra=_takes(
        "grant_type",
        "client_id code redirect_uri code_verifier refresh_token device_code scope client_assertion_type "
        "client_assertion invitation password",
    ),
)
def create_access_token(request: Request, form: FormIn) -> Response:
    """Exchange a code, refresh token, device code, client assertion or invitation for tokens (RFC 6749)."""
    _no_basic(request)
    return JSONResponse(_oauth(request).token(form, _address(request)), headers=_NO_STORE)


@programs.post(
    "/oauth/device_authorization",
    response_model=schemas.DeviceAuthorization,
    responses=_REFUSED,
    openapi_extra=_takes("client_id", "scope"),
)
def create_device_authorization(request: Request, form: FormIn) -> Response:
    """Begin to sign in at a program without a browser (RFC 8628)."""
    _no_basic(request)
    return JSONResponse(_oauth(request).device_authorization(form, _address(request)), headers=_NO_STORE)


@programs.post(
    "/oauth/revoke",
    response_class=Response,
    responses=_REFUSED,
    openapi_extra=_takes("token client_id", "token_type_hint"),
)
def revoke_token(request: Request, form: FormIn) -> Response:
    """Sign out: end the sign-in that a token belongs to (RFC 7009)."""
    _no_basic(request)
    _oauth(request).revoke(form)
    return Response(status_code=200, headers=_NO_STORE)


@programs.post(
    "/oauth/introspect",
    response_model=schemas.Introspection,
    responses=_REFUSED,
    openapi_extra=_takes("token", "token_type_hint client_assertion_type client_assertion client_id"),
)
def introspect_token(request: Request, form: FormIn) -> Response:
    """What a token says, and whether it is in force (RFC 7662)."""
    _no_basic(request)
    return JSONResponse(_oauth(request).introspect(form, _bearer(request)), headers=_NO_STORE)


@programs.get("/oauth/userinfo", response_model=schemas.UserInfo, responses=_REFUSED)
@programs.post("/oauth/userinfo", response_model=schemas.UserInfo, responses=_REFUSED)
def read_userinfo(request: Request) -> Response:
    """Who has signed in, as far as the scope permits (OpenID Connect Core, section 5.3)."""
    return JSONResponse(_oauth(request).userinfo(_bearer(request)), headers=_NO_STORE)


# ---- what people see ------------------------------------------------------------------------------------------------


@people.get("/oauth/authorize", response_class=HTMLResponse, responses=_PAGES)
def show_authorization(request: Request, query: QueryIn) -> Response:
    """The page on which somebody signs in for a client (RFC 6749, section 4.1; PKCE is required)."""
    return _shown(request, _flows(request).authorize(query, _visitor(request).form))


@people.post("/oauth/authorize", response_class=HTMLResponse, responses=_PAGES, openapi_extra=_takes("step csrf"))
def answer_authorization(request: Request, form: FormIn) -> Response:
    """The password, then the consent."""
    _require_own_page(request)
    return _shown(request, _flows(request).authorize_step(form, _visitor(request)))


@people.get("/oauth/device", response_class=HTMLResponse, responses=_NO_PAGE)
def show_device(request: Request, query: QueryIn) -> Response:
    """The page on which somebody enters the code that a device shows (RFC 8628, section 3.3)."""
    return _shown(request, _flows(request).device(query, _visitor(request).form))


@people.post("/oauth/device", response_class=HTMLResponse, responses=_NO_PAGE, openapi_extra=_takes("step csrf"))
def answer_device(request: Request, form: FormIn) -> Response:
    """The password and the code, then the consent."""
    _require_own_page(request)
    return _shown(request, _flows(request).device_step(form, _visitor(request)))


@people.get("/oauth/invitation", response_class=HTMLResponse, responses=_NO_PAGE)
def show_invitation(request: Request) -> Response:
    """The page on which somebody accepts an invitation."""
    return _shown(request, _flows(request).invitation(_visitor(request).form))


@people.post(
    "/oauth/invitation",
    response_class=HTMLResponse,
    responses=_NO_PAGE,
    openapi_extra=_takes("invitation password again csrf"),
)
def answer_invitation(request: Request, form: FormIn) -> Response:
    """The invitation and the password that was chosen."""
    _require_own_page(request)
    return _shown(request, _flows(request).invitation_step(form, _visitor(request)))


router = APIRouter()
"""All of them."""
router.routes.extend([*programs.routes, *people.routes])


def _visitor(request: Request) -> Visitor:
    return Visitor(
        request.cookies.get(_cookie(request, FORM_COOKIE)),
        request.cookies.get(_cookie(request, SIGN_IN_COOKIE)),
        _address(request),
    )


def _require_own_page(request: Request) -> None:
    """Refuse what the browser itself says another site's page has sent; the form's mark decides in any case."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise OAuthError("invalid_request", "The form was sent by another page.", status=403)


def _shown(request: Request, outcome: Page | Redirect) -> Response:
    answer: Response
    if isinstance(outcome, Redirect):
        answer = RedirectResponse(outcome.url, 303, headers={**_NO_STORE, "Referrer-Policy": "no-referrer"})
    else:
        sent = {**oauth_pages.headers(outcome.form_targets), **outcome.headers}
        answer = HTMLResponse(outcome.html, outcome.status, headers=sent)
    secure = _is_secure(request)
    for name, value in outcome.cookies.items():
        if value is None:
            answer.delete_cookie(_cookie(request, name), path=_where(secure), secure=secure, httponly=True)
        else:
            answer.set_cookie(
                _cookie(request, name), value, path=_where(secure), secure=secure, httponly=True, samesite="strict"
            )
    return answer


def _cookie(request: Request, name: str) -> str:
    """With HTTPS, a name that only this host can set, by HTTPS (RFC 6265bis, section 4.1.3.2)."""
    return f"__Host-{name}" if _is_secure(request) else name


def _where(secure: bool) -> str:
    return "/" if secure else _PATH


def _is_secure(request: Request) -> bool:
    return _issuer(request).startswith("https://")


def _refusal(error: OAuthError) -> Response:
    sent = {**_NO_STORE, **error.headers}
    if error.status == 401:
        sent.setdefault("WWW-Authenticate", 'Bearer realm="flaas"')
    return JSONResponse(error.to_dict(), error.status, headers=sent)
