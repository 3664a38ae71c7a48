"""A federation whose API speaks HTTPS with an authority of its own: invited, joined and trained with it pinned."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.communications.trust import Trust
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.home import Credentials, Home

from .conftest import Fit, Tables, expected_weights, linear_model, started


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalFederation, Tables]]:
    yield from started(tmp_path_factory.mktemp("encrypted"), {"north": 40, "south": 25, "west": 90}, tls=True)


def command(home: Home, *arguments: str, **options: str) -> str:
    done = CliRunner().invoke(main, list(arguments), env={"FLAAS_HOME": str(home.path), "FLAAS_TOKEN": ""}, **options)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_run_over_https_computes_what_it_must(encrypted: tuple[LocalFederation, Tables]) -> None:
    federation, data = encrypted
    assert federation.url.startswith("https://127.0.0.1:")
    model = linear_model(secure=False)
    before = model.get_weights()
    trained = Fit(federation, model, rounds=2, local_epochs=1, batch_size=1000).done()
    wanted = expected_weights(before, data, [list(federation.nodes)] * 2, steps=1)
    for ours, theirs in zip(trained.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    for node in federation.nodes.values():
        assert Trust.of(node.home, federation.url) == federation.trust


def test_an_invited_node_joins_with_the_fingerprint_that_the_invitation_has(
    encrypted: tuple[LocalFederation, Tables], tmp_path: Path
) -> None:
    federation, _ = encrypted
    operator = Home(tmp_path / "operator")
    operator.save_credentials(Credentials(federation.url, federation.token("north", "operator")))
    federation.trust.keep(operator, federation.url)
    invited = json.loads(command(operator, "node", "invite", "edge", "--project", federation.project, "--json"))
    (fingerprint,) = federation.trust.fingerprints
    init, join = (shlex.split(part)[1:] for part in invited["command"].split("&&"))
    assert join[join.index("--ca-fingerprint") + 1] == fingerprint

    edge = Home(tmp_path / "edge")
    command(edge, *init)
    told = command(edge, *join, input=f"{invited['secret']}\n")
    assert "edge of north joined" in told
    assert Trust.of(edge, federation.url) == federation.trust
    status = json.loads(command(edge, "node", "status", "--json"))
    assert status["state"] in ("offline", "registered"), status
