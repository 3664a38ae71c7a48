"""Where a node belongs: the domain key is pinned on joining and never replaced."""

from __future__ import annotations

import pytest

from flaas_jupyter.errors import Conflict, InvalidInput
from flaas_jupyter.execution.enrolment import Enrolment

KEY, OTHER = "ab" * 32, "cd" * 32
URL = "https://flaas.example"


def test_joining_adds_a_project_and_pins_its_key(tmp_path):
    enrolment = Enrolment("clinic-a").joined(URL, "clinic", "credit", KEY).joined(URL, "clinic", "other", OTHER)
    enrolment.save(tmp_path / "node.json")
    assert Enrolment.load(tmp_path / "node.json") == enrolment
    assert enrolment.projects == {"credit": KEY, "other": OTHER}
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600


def test_a_pinned_key_is_not_replaced():
    enrolment = Enrolment("clinic-a").joined(URL, "clinic", "credit", KEY)
    assert enrolment.joined(URL, "clinic", "credit", KEY) == enrolment
    with pytest.raises(Conflict, match=KEY):
        enrolment.joined(URL, "clinic", "credit", OTHER)


def test_a_node_belongs_to_one_api():
    enrolment = Enrolment("clinic-a").joined(URL, "clinic", "credit", KEY)
    with pytest.raises(Conflict, match="elsewhere"):
        enrolment.joined("https://elsewhere.example", "clinic", "other", OTHER)


@pytest.mark.parametrize("key", ["", "ab" * 31, "AB" * 32, "zz" * 32])
def test_a_domain_key_is_64_hex_digits(key):
    with pytest.raises(InvalidInput, match="domain key"):
        Enrolment("clinic-a").joined(URL, "clinic", "credit", key)


@pytest.mark.parametrize("project", ["../credit", "Credit", ""])
def test_a_project_has_an_id_that_can_name_a_file(project):
    with pytest.raises(InvalidInput) as caught:
        Enrolment("clinic-a").joined(URL, "clinic", project, KEY)
    assert caught.value.code == "bad-project-id"


def test_a_missing_or_damaged_file_says_what_to_do(tmp_path):
    with pytest.raises(InvalidInput, match="flaas node init"):
        Enrolment.load(tmp_path / "node.json")
    (tmp_path / "node.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"node\.json"):
        Enrolment.load(tmp_path / "node.json")
