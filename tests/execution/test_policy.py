import pytest

from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.execution.policy import Policy, allow_project

RUN = {
    "project": "credit", "rounds": 10, "local_epochs": 2, "batch_size": 16, "parameters": 300,
    "secure_aggregation": True, "privacy": None,
}  # fmt: skip
LOANS = {"name": "loans", "projects": ["credit"], "rows": 200}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(Policy.default_toml())
    return path


def loaded(path, text: str) -> Policy:
    path.write_text(text)
    return Policy.load(path)


def test_a_fresh_policy_lets_nobody_in(path):
    policy = Policy.load(path)
    assert policy == Policy()
    assert policy.projects == ()
    with pytest.raises(NotAllowed, match=r"'credit'.*'loans'") as error:
        policy.check(RUN, LOANS)
    assert error.value.code == "policy-projects"


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_the_first_policy_may_be_written_with_or_without_secure_aggregation(path, mode):
    assert loaded(path, Policy.default_toml(secure_aggregation=mode)).secure_aggregation == mode


def test_a_run_within_the_policy_is_let_in(path):
    allow_project(path, "credit")
    Policy.load(path).check(RUN, LOANS)


STRICT = Policy(
    projects=("credit",), minimum_rows=20, maximum_rounds=50, maximum_local_epochs=5, maximum_parameters=4000,
    secure_aggregation="required", secure_group=5, compressions=("int8", "lossless"), contact="dpo@clinic.example",
)  # fmt: skip


@pytest.mark.parametrize(
    ("run", "description", "code", "asked", "limit"),
    [
        ({"rounds": 51}, {}, "policy-maximum-rounds", "51", "50"),
        ({"local_epochs": 6}, {}, "policy-maximum-local-epochs", "6", "5"),
        ({"parameters": 4001}, {}, "policy-maximum-parameters", "4001", "4000"),
        ({}, {"rows": 19}, "policy-minimum-rows", "19", "20"),
        ({"secure_aggregation": False}, {}, "policy-secure-aggregation", "without secure", "masked"),
        ({"group_size": 4}, {}, "policy-secure-group", "groups of 4", "5 at least"),
        ({"compression": {"name": "topk", "options": {}}}, {}, "policy-compressions", "topk", "int8, lossless"),
        ({"operation": "export"}, {}, "policy-operation", "export", "train"),
        ({"project": "other"}, {}, "policy-projects", "other", "loans"),
        ({}, {"projects": ["research"]}, "policy-projects", "credit", "not offered"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("policy") else None,
)
def test_what_is_beyond_the_policy_is_refused_with_value_limit_and_whom_to_ask(run, description, code, asked, limit):
    with pytest.raises(NotAllowed) as error:
        STRICT.check({**RUN, **run}, {**LOANS, **description})
    assert error.value.code == code
    assert asked in error.value.message
    assert limit in error.value.message
    assert "dpo@clinic.example" in error.value.hint


@pytest.mark.parametrize(
    ("run", "description"),
    [
        ({"rounds": 50}, {}),
        ({"local_epochs": 5}, {}),
        ({"parameters": 4000}, {}),
        ({}, {"rows": 20}),
        ({"compression": {"name": "int8", "options": {}}}, {}),
        ({"compression": None}, {}),
    ],
)
def test_limits_are_inclusive(run, description):
    STRICT.check({**RUN, **run}, {**LOANS, **description})


@pytest.mark.parametrize(
    ("policy", "privacy", "code", "told"),
    [
        ({"privacy": "required"}, None, "policy-privacy", "without differential privacy"),
        ({"maximum_epsilon": 2.0}, None, "policy-maximum-epsilon", "infinite epsilon.*allows 2"),
        ({"maximum_epsilon": 2.0}, (2.5, 1e-5), "policy-maximum-epsilon", "epsilon 2.5.*up to 2"),
        ({"privacy": "required"}, (1.0, 0.01), "policy-maximum-delta", "delta 0.01.*up to 0.001"),
        ({}, (1.0, 0.01), "policy-maximum-delta", "delta 0.01"),
        ({"maximum_delta": 1e-6}, (1.0, 1e-5), "policy-maximum-delta", "delta 1e-05.*up to 1e-06"),
        ({"maximum_epsilon": 2.0}, (float("nan"), 1e-5), "policy-maximum-epsilon", "nan"),
    ],
)
def test_an_owner_may_require_privacy_and_limit_its_budget(policy, privacy, code, told):
    strict = Policy(projects=("credit",), contact="dpo@clinic.example", **policy)
    with pytest.raises(NotAllowed, match=told) as error:
        strict.check({**RUN, "privacy": privacy and dict(zip(("epsilon", "delta"), privacy, strict=True))}, LOANS)
    assert error.value.code == code
    assert "dpo@clinic.example" in error.value.hint


def test_a_run_within_the_privacy_budget_is_let_in(path):
    policy = loaded(
        path,
        '[policy]\nprojects = ["credit"]\nmaximum_epsilon = 8\n'
        '[policy.datasets.loans]\nprivacy = "required"\nmaximum_epsilon = 2.0\n',
    )
    policy.check({**RUN, "privacy": {"epsilon": 2.0, "delta": 1e-3}}, LOANS)
    policy.check({**RUN, "privacy": {"epsilon": 8.0, "delta": 1e-5}}, {**LOANS, "name": "cards"})
    with pytest.raises(NotAllowed, match="up to 2"):
        policy.check({**RUN, "privacy": {"epsilon": 8.0, "delta": 1e-5}}, LOANS)


def test_a_data_set_may_have_rules_of_its_own(path):
    policy = loaded(
        path,
        '[policy]\nprojects = ["credit", "research"]\nminimum_rows = 10\nsecure_aggregation = "required"\n'
        '[policy.datasets.loans]\nprojects = ["credit"]\nsecure_aggregation = "optional"\n',
    )
    plain = {**RUN, "secure_aggregation": False}
    policy.check(plain, LOANS)
    with pytest.raises(NotAllowed, match="research"):
        policy.check({**plain, "project": "research"}, {**LOANS, "projects": ["research"]})
    with pytest.raises(NotAllowed) as error:
        policy.check(plain, {**LOANS, "name": "cards"})
    assert error.value.code == "policy-secure-aggregation"
    assert policy.for_dataset("loans").minimum_rows == 10


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[policy]\nminimum_rows = \n", "line 2"),
        ("[policy]\n\nminimum_row = 5\n", r"'minimum_row' \(line 3\); did you mean 'minimum_rows'"),
        ("minimum_rows = 5\n", "'minimum_rows'"),
        ("[other]\n", "'other'"),
        ("[policy]\nprojects = 'credit'\n", r"projects in \[policy\] must be a list of texts.*line 2"),
        ("[policy]\nprojects = [3]\n", "list of texts"),
        ("[policy]\nmaximum_rounds = '9'\n", "maximum_rounds.*integer"),
        ("[policy]\nmaximum_rounds = true\n", "integer"),
        ("[policy]\nminimum_rows = 0\n", "integer from 1"),
        ("[policy]\nsecure_aggregation = 'sometimes'\n", '"required" or "optional"'),
        ("[policy]\nsecure_aggregation = ['required']\n", '"required" or "optional"'),
        ("[policy]\nprivacy = true\n", '"required" or "optional"'),
        ("[policy]\nmaximum_epsilon = 0\n", "number above 0"),
        ("[policy]\nmaximum_epsilon = nan\n", "number above 0"),
        ("[policy]\nmaximum_delta = 'small'\n", "number above 0"),
        ("[policy.datasets.loans]\nrows = 5\n", "'rows'"),
        ("[policy.datasets.loans]\nminimum_rows = 'x'\n", r"\[policy\.datasets\.loans\]"),
        ("[policy.datasets.loans]\nallow_layers = ['a>B']\n", r"under \[policy\]"),
        ("[policy]\ndatasets = 3\n", r"\[policy\.datasets\.NAME\]"),
        ("policy = 3\n", "table"),
    ],
)
def test_a_policy_that_cannot_be_right_is_refused_with_line_or_key(path, text, told):
    with pytest.raises(InvalidInput, match=told) as error:
        loaded(path, text)
    assert error.value.code == "bad-policy"
    assert str(path) in error.value.message


def test_a_missing_or_unreadable_policy_is_told(path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Policy.load(path)
    path.unlink()
    with pytest.raises(InvalidInput, match="flaas node init"):
        Policy.load(path)


def test_joining_adds_a_project_and_keeps_the_rest(path):
    before = path.read_text()
    allow_project(path, "credit")
    allow_project(path, 'odd "name" ü')
    allow_project(path, "credit")
    after = path.read_text()
    assert Policy.load(path).projects == ("credit", 'odd "name" ü')
    assert [line for line in after.splitlines() if not line.startswith("projects")] == [
        line for line in before.splitlines() if not line.startswith("projects")
    ]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "[policy]\n",
        "[policy]\nminimum_rows = 5",
        '[policy]\nprojects = [\n  "one",\n  "two",\n]\nminimum_rows = 5\n',
        '[policy.datasets.loans]\nprojects = ["x"]\n\n[policy]\nprojects = ["one"]  # mine\n',
        '[policy]\nprojects = ["one"]\n[policy.datasets.loans]\nprojects = ["x"]\n',
    ],
)
def test_a_project_is_added_however_the_list_is_written(path, text):
    before = loaded(path, text)
    allow_project(path, "credit")
    after = Policy.load(path)
    assert after.projects == (*before.projects, "credit")
    assert (after.datasets, after.minimum_rows) == (before.datasets, before.minimum_rows)


@pytest.mark.parametrize("text", ['[policy]\nprojects = ["a", # mine\n "b"]\n', 'policy.projects = ["a"]\n'])
def test_a_list_that_cannot_be_edited_safely_is_left_alone(path, text):
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r'write projects = \["a".*"credit"\]'):
        allow_project(path, "credit")
    assert path.read_text() == text
