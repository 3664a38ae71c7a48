"""A KMS in a file: what `FLAAS_KMS_COMMAND` names in these tests. It notes what it is asked, and binds the context."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12


def main() -> int:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "kms.json").read_text())
    asked = json.load(sys.stdin)
    with (folder / "asked").open("a") as log:
        log.write(asked["operation"] + "\n")
    match settings.get("fault"):
        case "slow":
            time.sleep(60)
        case "status":
            print("AccessDenied: the token is s3cr3t", file=sys.stderr)
            return 3
        case "text":
            print("no JSON")
            return 0
        case "list":
            print("[]")
            return 0
        case "plain":
            print(json.dumps({"key_id": "k", "wrapped": asked.get("data_key"), "data_key": "AAAA"}))
            return 0
        case "short":
            print(json.dumps({"key_id": "k", "wrapped": "AAAA", "data_key": "AAAA"}))
            return 0
        case "base64":
            print(json.dumps({"key_id": "k", "wrapped": "***", "data_key": 7}))
            return 0
    answer = {}
    if asked["operation"] == "describe":
        answer = {"key_id": settings["present"]}
    else:
        name = asked.get("key_id", settings["present"])
        cipher = AESGCM(bytes.fromhex(settings["keys"][name]))
        bound = json.dumps(asked["context"], sort_keys=True).encode()
        if asked["operation"] == "wrap":
            nonce = bytes(range(NONCE))
            sealed = nonce + cipher.encrypt(nonce, base64.b64decode(asked["data_key"]), bound)
            answer = {"wrapped": base64.b64encode(sealed).decode()}
        else:
            data = base64.b64decode(asked["wrapped"])
            try:
                answer = {"data_key": base64.b64encode(cipher.decrypt(data[:NONCE], data[NONCE:], bound)).decode()}
            except InvalidTag:
                return 4
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
