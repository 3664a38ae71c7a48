"""Scopes: where a role is held."""

from __future__ import annotations

import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.governance import scopes


def test_a_scope_says_what_it_is():
    for made, kind, name in (
        (scopes.PLATFORM, "platform", ""),
        (scopes.organisation("north"), "organisation", "north"),
        (scopes.project("credit"), "project", "credit"),
        (scopes.node("ab" * 32), "node", "ab" * 32),
    ):
        assert scopes.parse(made) == made
        assert (scopes.kind_of(made), scopes.id_of(made)) == (kind, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "planet",
        "platform:",
        "platform:x",
        "organisation",
        "organisation:",
        "team:x",
        "node:\x00",
        "project:" + "x" * 300,
    ],
)
def test_what_is_none_is_refused_and_told(text):
    with pytest.raises(InvalidInput, match="platform, organisation") as caught:
        scopes.parse(text)
    assert caught.value.code == "bad-scope"


def test_overlap_is_symmetric_and_errs_on_the_safe_side():
    everywhere = [scopes.PLATFORM, "organisation:a", "organisation:b", "project:a", "project:b", "node:a"]
    for one in everywhere:
        assert scopes.overlap(one, one)
        assert scopes.overlap(one, scopes.PLATFORM)
        for other in everywhere:
            assert scopes.overlap(one, other) == scopes.overlap(other, one)
    assert not scopes.overlap("organisation:a", "organisation:b")
    assert not scopes.overlap("project:a", "project:b")
    assert scopes.overlap("organisation:a", "project:b"), "the organisation may be in the project"
