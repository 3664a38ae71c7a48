"""The node's secrets: sealed, private, bound to their names, and never shown."""

import base64
import json
import stat

import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.errors import InvalidInput, NotFound
from flaas_jupyter.execution.sources.secrets import Secret, SecretStore

VALUE = "correct horse battery staple"


@pytest.fixture
def store(home):
    return SecretStore(home, {})


def test_a_secret_comes_back_and_lies_sealed_and_private(store, home):
    store.set("warehouse", VALUE)
    assert store.get("warehouse").value == VALUE
    assert store.names() == ["warehouse"]
    assert VALUE not in repr(store.get("warehouse"))
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        if path.is_file():
            assert VALUE.encode() not in path.read_bytes()
            assert base64.b64encode(VALUE.encode())[:-2] not in path.read_bytes()


def test_a_secret_in_anothers_place_or_changed_is_not_opened(store, home):
    store.set("a", VALUE)
    (home / "secrets/b").write_bytes((home / "secrets/a").read_bytes())
    for name, data in (("b", None), ("a", b"nonsense"), ("a", b""), ("a", base64.urlsafe_b64encode(bytes(60)))):
        if data is not None:
            (home / "secrets" / name).write_bytes(data)
        with pytest.raises(InvalidInput) as error:
            store.get(name)
        assert error.value.code == "secret-unreadable"


def test_the_key_may_come_from_elsewhere(home):
    key = {"FLAAS_NODE_SECRETS_KEY": base64.urlsafe_b64encode(bytes(range(32))).decode()}
    SecretStore(home, key).set("a", VALUE)
    assert [path.name for path in home.iterdir()] == ["secrets"]  # no key beside it
    assert SecretStore(home, key).get("a").value == VALUE
    with pytest.raises(InvalidInput) as error:
        SecretStore(home, {}).get("a")
    assert error.value.code == "secret-unreadable"
    with pytest.raises(InvalidInput) as error:
        SecretStore(home, {"FLAAS_NODE_SECRETS_KEY": "short"}).get("a")
    assert error.value.code == "bad-secrets-key"


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a" * 65, "a b", "a\n"])
def test_names_are_names_of_files_in_the_folder(store, name):
    for call in (lambda: store.set(name, VALUE), lambda: store.get(name), lambda: store.remove(name)):
        with pytest.raises(InvalidInput) as error:
            call()
        assert error.value.code == "bad-secret-name"


def test_unknown_and_empty_secrets_are_refused(store):
    store.set("warehouse", VALUE)
    for call in (store.get, store.remove):
        with pytest.raises(NotFound, match="it keeps: warehouse") as error:
            call("lake")
        assert error.value.code == "unknown-secret"
    for value in ("", "  \n", "x" * 70_000):
        with pytest.raises(InvalidInput) as error:
            store.set("a", value)
        assert error.value.code == "bad-secret"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"access_key_id": "a", "secret_access_key": "b=="}),
        "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b==\n",
        "export aws_access_key_id='a'\nexport aws_secret_access_key=\"b==\"",
    ],
)
def test_fields_are_json_or_lines(text):
    fields = Secret("s3", text).fields("access_key_id", "secret_access_key")
    assert fields == {"access_key_id": "a", "secret_access_key": "b=="}
    with pytest.raises(InvalidInput, match="session_token") as error:
        Secret("s3", text).fields("session_token")
    assert error.value.code == "bad-secret"
    assert "b==" not in str(error.value)


@pytest.mark.parametrize("text", ["pa$$word", "PASS=word", "sv=2024&sig=abc%3D", "line one\nline two", "[1, 2]", "12"])
def test_a_single_value_has_no_fields(text):
    assert Secret("a", text).document() is None


def test_the_command_keeps_lists_and_forgets_without_ever_printing_one(home, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(home))

    def run(*arguments: str, given: str = "", code: int = 0) -> str:
        result = CliRunner().invoke(main, ["secret", *arguments], input=given)
        assert result.exit_code == code, result.output
        assert VALUE not in result.output
        return result.output

    assert "is kept" in run("set", "warehouse", given=VALUE + "\n")
    assert "is replaced" in run("set", "warehouse", given=VALUE + "\n")
    assert run("list") == "warehouse\n"
    assert json.loads(run("list", "--json")) == ["warehouse"]
    assert SecretStore(home).get("warehouse").value == VALUE
    run("remove", "warehouse")
    assert "no secrets" in run("list")
    assert "unknown-secret" in run("remove", "warehouse", code=1)
    assert "bad-secret" in run("set", "warehouse", given="", code=1)


def test_a_source_with_a_secret_that_is_not_there_says_so(opened):
    for url in ("s3://hospital/t.csv", "https://files.example/t.csv", "gs://hospital/t.csv"):
        with pytest.raises(NotFound) as error:
            opened(url, secret="warehouse")
        assert error.value.code == "unknown-secret"
