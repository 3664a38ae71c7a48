"""The pages on which people sign in and agree: plain HTML without a script, that loads nothing from anywhere.

Everything that is not a constant of this module is escaped. The policy (CSP) permits nothing but the one style sheet,
by its hash, and forms to this API.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

STYLE = """
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --text: #1b1f24; --dim: #57606a; --edge: #8c959f;
  --act: #0b57d0; --on-act: #fff; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --card: #22262c; --text: #e8eaed; --dim: #b0b7c0;
  --edge: #7d8590; --act: #8ab4f8; --on-act: #0b1626; --bad: #ffb4ab; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 0 auto; padding: 1.5rem; background: var(--card); border: 1px solid var(--edge);
  border-radius: .5rem; }
h1 { font-size: 1.25rem; margin: 0 0 1rem; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { width: 100%; padding: .5rem; font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--edge); border-radius: .25rem; }
button { margin: 1.25rem .5rem 0 0; padding: .5rem 1.25rem; font: inherit; font-weight: 600; border-radius: .25rem;
  border: 1px solid var(--act); background: var(--act); color: var(--on-act); cursor: pointer; }
button.other { background: transparent; color: inherit; border-color: var(--edge); }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px; }
[role=alert] { color: var(--bad); font-weight: 600; }
.dim { color: var(--dim); }
code { font-size: 1.05em; overflow-wrap: anywhere; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def headers(form_targets: Iterable[str] = ()) -> dict[str, str]:
    """Return the headers of a page; `form_targets` are further origins that an answer to its form may lead to."""
    targets = " ".join(["'self'", *form_targets])
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {targets}; base-uri 'none'; "
            "frame-ancestors 'none'"
        ),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def sign_in(
    action: str,
    hidden: Mapping[str, str],
    *,
    client: str,
    error: str = "",
    login: str = "",
    user_code: str | None = None,
) -> str:
    """Return the page that asks for login name and password, and for a device's code if `user_code` is given."""
    code = ""
    if user_code is not None:
        code = _field("user_code", "Code shown at the device", user_code, extra='autocapitalize="characters"')
    told = f"<p>{escape(client)} asks you to sign in.</p>" if client else ""
    body = f"""{told}{_alert(error)}
<form method="post" action="{escape(action)}">
{_hidden({**hidden, "step": "sign-in"})}{code}
{_field("login", "User name or e-mail address", login, extra='autocomplete="username"')}
{_field("password", "Password", "", kind="password", extra='autocomplete="current-password"')}
<button type="submit">Sign in</button>
</form>"""
    return _page("Sign in", body)


def consent(
    action: str, hidden: Mapping[str, str], *, client: str, person: str, asks: Iterable[str], warning: str = ""
) -> str:
    """Return the page that says what a client asks for, and takes yes or no."""
    items = "".join(f"<li>{escape(text)}</li>" for text in asks)
    note = f"<p><strong>{escape(warning)}</strong></p>" if warning else ""
    body = f"""<p>{escape(client)} wants to act as <strong>{escape(person)}</strong>:</p>
<ul>{items}</ul>
{note}<form method="post" action="{escape(action)}">
{_hidden({**hidden, "step": "decide"})}
<button type="submit" name="decision" value="allow">Allow</button>
<button type="submit" name="decision" value="deny" class="other">Refuse</button>
</form>"""
    return _page("Allow access?", body)


def invitation(action: str, hidden: Mapping[str, str], *, error: str = "") -> str:
    """Return the page on which an invitation is accepted; the invitation is pasted, and never stands in an address."""
    new = 'autocomplete="new-password" minlength="12" maxlength="256"'
    body = f"""<p>Paste the invitation that you were given, and choose a password of at least 12 characters. Long is
good; digits and signs are not needed.</p>{_alert(error)}
<form method="post" action="{escape(action)}">
{_hidden(hidden)}
{_field("invitation", "Invitation", "", kind="password", extra='autocomplete="off"')}
{_field("password", "New password", "", kind="password", extra=new)}
{_field("again", "New password again", "", kind="password", extra=new)}
<button type="submit">Accept</button>
</form>"""
    return _page("Accept an invitation", body)


def message(title: str, text: str) -> str:
    """Return a page that only tells something."""
    return _page(title, f"<p>{escape(text)}</p>")


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(title)} · Federated learning</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def _field(name: str, label: str, value: str, *, kind: str = "text", extra: str = "") -> str:
    return (
        f'<label for="{name}">{escape(label)}</label>'
        f'<input id="{name}" name="{name}" type="{kind}" value="{escape(value)}" required spellcheck="false" {extra}>'
    )


def _hidden(values: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in values.items()
    )


def _alert(error: str) -> str:
    return f'<p role="alert">{escape(error)}</p>' if error else ""
