"""Which folders files may be read from, whoever asks, by whatever way."""

import json
import os

import pytest
from tables import frame

from flaas_jupyter.errors import InvalidInput, NotAllowed

CSV = "a,b\n1,2\n"


@pytest.fixture
def places(tmp_path, home):
    """An allowed folder and one beside it, with a file in each."""
    for name in ("allowed", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(CSV)
    (home / "node.toml").write_text(f"[policy]\ndata_folders = [{json.dumps(str(tmp_path / 'allowed'))}]\n")
    return tmp_path


def refused(opened, url, code="policy-data-folders", **options):
    with pytest.raises((NotAllowed, InvalidInput)) as error:
        frame(opened(url, **options))
    assert error.value.code == code, error.value
    return error.value


@pytest.mark.parametrize("by_operator", [True, False])
def test_files_in_an_allowed_folder_are_read_and_no_others(places, opened, by_operator):
    assert len(frame(opened(places / "allowed/t.csv", by_operator=by_operator))) == 1
    assert len(frame(opened(f"file://{places}/allowed/t.csv", by_operator=by_operator))) == 1
    assert len(frame(opened(f"{places}/allowed/*.csv", by_operator=by_operator))) == 1
    for url in (
        places / "other/t.csv",
        f"file://{places}/other/t.csv",
        f"{places}/other",
        f"{places}/other/*.csv",
        f"{places}/**/*.csv",
        f"{places}/allowed/../other/t.csv",
        f"{places}/allowed-too/t.csv",
        "/etc/passwd",
    ):
        told = refused(opened, url, by_operator=by_operator)
        assert "data_folders" in told.hint
    refused(opened, f"file://{places}/allowed/../other/t.csv", "bad-source", by_operator=by_operator)
    refused(opened, f"file://{places}/allowed/%2e%2e/other/t.csv", "bad-source", by_operator=by_operator)
    refused(opened, f"file://server{places}/allowed/t.csv", "bad-source", by_operator=by_operator)


def test_links_out_of_an_allowed_folder_are_refused_wherever_they_are(places, opened):
    allowed = places / "allowed"
    (allowed / "link.csv").symlink_to(places / "other/t.csv")
    (allowed / "folder").symlink_to(places / "other")
    (allowed / "relative.csv").symlink_to("../other/t.csv")
    (allowed / "chain.csv").symlink_to("link.csv")
    for name in ("link.csv", "relative.csv", "chain.csv", "folder/t.csv", "folder"):
        refused(opened, allowed / name, "link-out-of-folder")
    refused(opened, f"{allowed}/*.csv", "link-out-of-folder")
    refused(opened, allowed, "link-out-of-folder")  # the folder as one table
    (allowed / "inside.csv").symlink_to("t.csv")
    assert len(frame(opened(allowed / "inside.csv"))) == 1
    (allowed / "loop.csv").symlink_to("loop.csv")
    refused(opened, allowed / "loop.csv", "unreadable-data")


def test_a_link_that_takes_the_place_of_a_file_is_not_followed(places, opened):
    source = opened(places / "allowed/t.csv")
    frame(source)
    (places / "allowed/t.csv").unlink()
    (places / "allowed/t.csv").symlink_to(places / "other/t.csv")
    with pytest.raises((NotAllowed, InvalidInput)):
        source.stamp()
    with pytest.raises((NotAllowed, InvalidInput)):
        frame(source)


def test_without_a_list_the_operator_chooses_and_others_have_the_nodes_own_folders(tmp_path, home, opened):
    (tmp_path / "t.csv").write_text(CSV)
    assert len(frame(opened(tmp_path / "t.csv"))) == 1
    refused(opened, tmp_path / "t.csv", by_operator=False)
    (home / "data").mkdir()
    (home / "data/t.csv").write_text(CSV)
    assert len(frame(opened(home / "data/t.csv", by_operator=False))) == 1
    (home / "data/link.csv").symlink_to(tmp_path / "t.csv")
    refused(opened, home / "data/link.csv", "link-out-of-folder", by_operator=False)


def test_links_out_of_a_folder_that_the_operator_chose_are_refused(tmp_path, opened):
    (tmp_path / "table").mkdir()
    (tmp_path / "table/1.csv").write_text(CSV)
    (tmp_path / "secret.csv").write_text(CSV)
    (tmp_path / "table/2.csv").symlink_to(tmp_path / "secret.csv")
    refused(opened, tmp_path / "table", "link-out-of-folder")


def test_what_the_node_keeps_for_itself_is_never_data(home, opened, tmp_path):
    (home / "secrets").mkdir()
    (home / "secrets/t.csv").write_text(CSV)
    (home / "node.key").write_text(CSV)
    (tmp_path / "link.csv").symlink_to(home / "secrets/t.csv")
    (home / "node.toml").write_text(f"[policy]\ndata_folders = [{json.dumps(str(home))}]\n")
    for by_operator in (True, False):
        for path, options in (
            (home / "secrets/t.csv", {}),
            (tmp_path / "link.csv", {}),
            (home / "node.key", {"format": "csv"}),
            (home / "secrets", {"format": "csv"}),
            (f"sqlite:///{home}/secrets/t.csv", {"query": "SELECT 1"}),
        ):
            refused(opened, path, "own-home", by_operator=by_operator, **options)


def test_what_is_no_file_is_not_waited_for(tmp_path, opened):
    os.mkfifo(tmp_path / "pipe.csv")
    refused(opened, tmp_path / "pipe.csv", "unreadable-data")
    refused(opened, "/dev/zero", "unreadable-data", format="csv")


def test_unknown_places_are_refused(opened):
    for url in ("http://files.example/t.csv", "ftp://a/t.csv", "gopher://a/", "jar://x", "hdfs://a/b"):
        told = refused(opened, url, "unknown-source")
        assert "https://" in told.message


def test_the_policy_is_for_the_whole_node(home, opened, tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    for text, code in (
        ('[policy.datasets.loans]\ndata_folders = ["/"]\n', "bad-policy"),
        ('[policy.datasets.loans]\ndata_hosts = ["a"]\n', "bad-policy"),
        ("[policy]\ndata_folders = 7\n", "bad-policy"),
        ('[policy]\ndata_folders = ["relative"]\n', "policy-data-folders"),
    ):
        (home / "node.toml").write_text(text)
        refused(opened, tmp_path / "t.csv", code)
