"""Journals of a node: what a crash has cut off costs its own line only."""

from __future__ import annotations

import stat

from flaas_jupyter.execution import journal


def test_entries_come_back_in_order_and_only_their_owner_reads_them(tmp_path):
    path = tmp_path / "deep" / "log.jsonl"
    assert list(journal.entries(path, ("time",))) == []
    for number in range(3):
        journal.append(path, {"time": number})
    assert [entry["time"] for entry in journal.entries(path, ("time",))] == [0, 1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_was_cut_off_takes_none_with_it(tmp_path):
    path = tmp_path / "log.jsonl"
    journal.append(path, {"time": 1})
    path.write_bytes(path.read_bytes() + b'{"time": 2, "outc')
    journal.append(path, {"time": 3})
    assert [entry["time"] for entry in journal.entries(path, ("time",))] == [1, 3]


def test_what_lacks_a_key_is_passed_over(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"other": 1}\n[1]\nnull\n{"time": 0}\n')
    (entry,) = journal.entries(path, ("time",))
    assert journal.instant(entry["time"]) == "1970-01-01T00:00:00+00:00"
