"""``flaas api serve --invitation-file``: where the output is a log, the first invitation is not in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flaas_jupyter.cli import main
from flaas_jupyter.coordination import server


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start the API as the command does, up to where it would listen."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(server, "serve", lambda *_, **__: None)

    def start(*options: str) -> Result:
        return CliRunner().invoke(main, ["api", "serve", *options])

    return start


def test_the_invitation_is_in_a_private_file_and_not_in_the_output(serve: Any, tmp_path: Path) -> None:
    file = tmp_path / "invitation"
    done = serve("--host", "0.0.0.0", "--tls-private", "--tls-name", "api", "--invitation-file", str(file))
    assert done.exit_code == 0, done.output
    told = json.loads(file.read_text())
    assert told["url"] == "https://api:8470"
    assert told["ca_fingerprint"] in done.output
    assert told["invitation"].startswith("flaas-invitation-")
    assert told["invitation"] not in done.output
    assert str(file) in done.output
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_told_before_the_invitation_is_made(serve: Any, tmp_path: Path) -> None:
    """It is made once: a start that loses it would lock everybody out."""
    refused = serve("--invitation-file", str(tmp_path / "nowhere" / "invitation"))
    assert refused.exit_code == 1
    assert "[bad-invitation-file]" in refused.output
    file = tmp_path / "invitation"
    assert serve("--invitation-file", str(file)).exit_code == 0
    assert json.loads(file.read_text())["ca_fingerprint"] is None
