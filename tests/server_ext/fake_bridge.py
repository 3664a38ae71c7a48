"""A bridge to no mesh: answers as the chunk's index says, and counts its starts in the folder that it is given."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import time
from pathlib import Path

LENGTH = struct.Struct(">I")
REFUSED, GONE, SILENT, BROKEN = 13, 99, 77, 55


def frame() -> tuple[dict, bytes] | None:
    parts = []
    for _ in range(2):
        raw = sys.stdin.buffer.read(LENGTH.size)
        if len(raw) < LENGTH.size:
            return None
        parts.append(sys.stdin.buffer.read(*LENGTH.unpack(raw)))
    return json.loads(parts[0]), parts[1]


def answer(told: dict) -> None:
    packed = json.dumps(told).encode()
    sys.stdout.buffer.write(LENGTH.pack(len(packed)) + packed + LENGTH.pack(0))
    sys.stdout.buffer.flush()


def main() -> None:
    folder = Path(sys.argv[1])
    with (folder / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    print("a library has something to say", file=sys.stderr, flush=True)
    while (asked := frame()) is not None:
        header, body = asked
        index = header.get("index")
        if index == GONE:
            os._exit(1)
        if index == BROKEN:
            sys.stdout.buffer.write(b"this is no frame")
            sys.stdout.buffer.flush()
            time.sleep(60)
        if index == SILENT:
            continue
        if index == REFUSED:
            error = {"kind": header.get("kind", "NotAllowed"), "code": "policy-uploads", "message": "no", "hint": "ask"}
            answer({"id": header["id"], "error": error})
            continue
        told = {name: value for name, value in header.items() if name != "id"}
        told |= {"sha256": hashlib.sha256(body).hexdigest(), "home": os.environ["FLAAS_HOME"], "pid": os.getpid()}
        answer({"id": header["id"], "ok": told})
    (folder / "left").touch()


if __name__ == "__main__":
    main()
