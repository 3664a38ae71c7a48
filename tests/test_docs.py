"""The documentation against what there is: REST end points, commands with their options, and links between pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from flaas_jupyter.cli import main
from flaas_jupyter.coordination.app import create_app
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.governance.rbac.functions import FUNCTIONS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

METHODS = "GET|POST|PUT|PATCH|DELETE"
ENDPOINT = re.compile(rf"`((?:{METHODS})(?:/(?:{METHODS}))*) (/[^\s`?]*)[^`]*`")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
SHELLS = {"", "bash", "sh", "console"}
FREE = re.compile(r"[A-Z][A-Z_\-=]*|[…\[<].*|\.\.\.")
"""What stands for something else in a command: PROJECT, [URL], <id>, …"""


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ---- REST -----------------------------------------------------------------------------------------------------------


def anonymous(path: str) -> str:
    """Return a path whose parameters have no names: `/v1/runs/{}`."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def described(tmp_path: Path) -> set[tuple[str, str]]:
    paths = create_app(Settings(database_url=f"sqlite:///{tmp_path / 'api.db'}")).openapi()["paths"]
    return {
        (method.upper(), anonymous(path))
        for path, operations in paths.items()
        for method in operations
        if method.upper() in METHODS.split("|")
    }


def documented() -> set[tuple[str, str]]:
    text = (ROOT / "docs" / "rest.md").read_text()
    found = {
        (method, anonymous(path)) for methods, path in ENDPOINT.findall(text) for method in str(methods).split("/")
    }
    if ("POST", "/v1/rbac/{}") in found:
        found.remove(("POST", "/v1/rbac/{}"))
        found |= {("POST", f"/v1/rbac/{name}") for name in FUNCTIONS if f"`{name}`" in text}
    return found


def test_every_endpoint_is_in_the_reference(tmp_path):
    missing = described(tmp_path) - documented()
    assert not missing, f"docs/rest.md does not tell of {sorted(missing)}"


def test_the_reference_tells_of_no_other_endpoint(tmp_path):
    invented = documented() - described(tmp_path) - {("GET", "/openapi.json")}
    assert not invented, f"docs/rest.md tells of {sorted(invented)}, which the API does not have"


# ---- commands -------------------------------------------------------------------------------------------------------


def commands(text: str) -> Iterator[list[str]]:
    """Return the words after `flaas` wherever a command of ours stands in a page."""
    prose = FENCE.sub("", text)
    lines = [line for language, block in FENCE.findall(text) if language in SHELLS for line in joined(block)]
    for line in [*lines, *SPAN.findall(prose)]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            words = line.partition("#")[0].split()
        for start, word in enumerate(words):
            if word == "flaas" and (start == 0 or begins_a_command(words[start - 1])):
                yield up_to_the_end(words[start + 1 :])


def joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def begins_a_command(word: str) -> bool:
    return (
        word in {"$", "&&", "||", "|", ";", "then"}
        or word.endswith(";")
        or re.fullmatch(r"[A-Z_]+=\S*", word) is not None
    )


def up_to_the_end(words: list[str]) -> list[str]:
    for position, word in enumerate(words):
        if word in {"&&", "||", "|", ";", ">", "<"}:
            return words[:position]
        if word.endswith(";"):
            return [*words[:position], word[:-1]]
    return words


def fault(words: list[str]) -> str | None:
    """Return what is wrong with a command, as `flaas` itself would see it."""
    command: click.Command = main
    options = {"-h", "--help", "--version"}
    for word in words:
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            if word.partition("=")[0] not in options:
                return f"no option {word}"
        elif isinstance(command, click.Group):
            if FREE.fullmatch(word):
                return None
            found = command.commands.get(word)
            if found is None:
                return f"no command {word!r}"
            command = found
            options |= {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return None


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_command_and_option_that_is_named_exists(page):
    faults = {f"flaas {' '.join(words)}": wrong for words in commands(page.read_text()) if (wrong := fault(words))}
    assert not faults


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`flaas members invite MAIL --organisation lab`", None),
        ("```bash\nFLAAS_HOME=a flaas api serve --port 1   # serve\n```", None),
        ("```console\n$ flaas costs …\n```", None),
        ("`flaas members promote`", "no command 'promote'"),
        ("```bash\ncd x && flaas login --pasword\n```", "no option --pasword"),
        ("`flaas login | flaas logout --all`", "no option --all"),
    ],
)
def test_a_command_that_does_not_exist_is_found(text, wrong):
    found = [fault(words) for words in commands(text)]
    assert found, "it is not taken for a command"
    assert next((each for each in found if each), None) == wrong


# ---- links ----------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them."""
    prose = FENCE.sub("", page.read_text())
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose))
    return {heading.replace(" ", "-") for heading in plain}


def broken(page: Path) -> list[str]:
    prose = FENCE.sub("", page.read_text())
    faults = []
    for link in LINK.findall(prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            faults.append(link)
    return faults


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_relative_link_leads_somewhere(page):
    assert not broken(page)
