"""One party of a comparison on shares, as a process: inputs as JSON on standard input, the result on standard output.

``python -m flaas_jupyter.protocols.analytics.share_party``; `shares.compare` starts it.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

KEY_BITS = 64


async def compare(mpc: Any, function: str, minimum: int, keys: list[int], counts: list[int]) -> list[int | None]:
    """Share this party's keys and counts, compare, and open what may be opened.

    Groups that a party has no value of count as the other end of all numbers there. Of each group two numbers are
    opened: whether it has enough values, and, multiplied by that, the result.
    """
    number = mpc.SecInt(KEY_BITS + 2)  # a sign, and room for differences
    smallest = function.endswith("min")
    neutral = (1 << KEY_BITS) - 1 if smallest else 0
    own = [key if count else neutral for key, count in zip(keys, counts, strict=True)]
    shared_keys = mpc.input([number(key) for key in own])
    shared_counts = mpc.input([number(count) for count in counts])
    opened: list[int | None] = []
    for group in range(len(keys)):
        theirs = [party[group] for party in shared_keys]
        enough = mpc.sum([party[group] for party in shared_counts]) >= max(minimum, 1)
        if function.startswith("arg"):
            place, _ = mpc.argmin(theirs) if smallest else mpc.argmax(theirs)
            result = place
        else:
            result = mpc.min(theirs) if smallest else mpc.max(theirs)
        flag = int(await mpc.output(enough))
        opened.append(int(await mpc.output(enough * result)) if flag else None)
    return opened


def main() -> None:
    """Run one party to its end."""
    given = json.loads(sys.stdin.read())
    addresses = [argument for address in given["addresses"] for argument in ("-P", address)]
    sys.argv = [sys.argv[0], *addresses, "-I", str(given["place"]), "--no-log"]
    # It reads its options from the command line when it is imported.
    mpc = importlib.import_module("mpyc.runtime").mpc

    async def run() -> list[int | None]:
        async with mpc:
            return await compare(mpc, given["function"], given["minimum"], given["keys"], given["counts"])

    opened = mpc.run(run())
    sys.stdout.write(json.dumps(opened) + "\n")


if __name__ == "__main__":
    main()
