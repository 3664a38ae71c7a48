"""The bridge as the process that it is: frames in, frames out, and nothing else on standard output."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

LENGTH = struct.Struct(">I")


def frame(header: Any, body: bytes = b"") -> bytes:
    packed = header if isinstance(header, bytes) else json.dumps(header).encode()
    return LENGTH.pack(len(packed)) + packed + LENGTH.pack(len(body)) + body


def run(home: Path, said: bytes) -> tuple[list[dict[str, Any]], str, int]:
    """Say something to a bridge of somebody who is not signed in; return its answers, its log and its exit code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLAAS_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flaas_jupyter.upload_bridge"],
        input=said, capture_output=True, timeout=60, env={**kept, "FLAAS_HOME": str(home)},
    )  # fmt: skip
    answers, left = [], done.stdout
    while left:
        (length,) = LENGTH.unpack(left[:4])
        answers.append(json.loads(left[4 : 4 + length]))
        assert LENGTH.unpack(left[4 + length : 8 + length]) == (0,)
        left = left[8 + length :]
    return answers, done.stderr.decode(), done.returncode


def test_it_answers_every_request_and_ends_with_its_input(tmp_path):
    header = {"id": 1, "do": "open", "project": "demo", "dataset": "sent", "header": "AAAA", "envelope": "AAAA"}
    requests = [
        header, {"id": 2, "do": "chunk", "upload": "ab" * 16, "index": 0}, {"id": 3, "do": "dance"},
        {"id": 4, "do": "open", "header": "not base64!"}, {"id": 5, "do": "abort", "upload": None}, {"id": 6},
    ]  # fmt: skip
    answers, log, code = run(tmp_path, b"".join(frame(request, b"x" * 1000) for request in requests))
    codes = {answer["id"]: answer["error"]["code"] for answer in answers}
    assert codes == {
        1: "bad-upload", 2: "upload-not-open", 3: "bad-upload", 4: "bad-upload", 5: "upload-not-open", 6: "bad-upload",
    }  # fmt: skip
    assert all(answer["error"]["message"] for answer in answers)
    assert (log, code) == ("", 0)


def test_nobody_sends_who_is_not_signed_in(tmp_path):
    header = b"FLAU\x01" + bytes(16) + bytes(32) + (1).to_bytes(8, "big") + (4096).to_bytes(4, "big")
    told = {"header": base64.b64encode(header).decode(), "envelope": base64.b64encode(b"sealed").decode()}
    answers, _, _ = run(tmp_path, frame({"id": 1, "do": "open", "project": "demo", "dataset": "sent", **told}))
    assert (answers[0]["error"]["kind"], answers[0]["error"]["code"]) == ("NotAuthenticated", "no-token")


def test_it_ends_when_it_is_told_nonsense(tmp_path):
    for nonsense in (b"\xff" * 8, frame(b"[]"), frame(b"{", b""), LENGTH.pack(10) + b"half"):
        answers, _, code = run(tmp_path, nonsense)
        assert (answers, code) == ([], 0)
