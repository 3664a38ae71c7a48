"""The cloud-init document: what it sets up, that it is the same every time, and that its schema knows every key."""

from __future__ import annotations

import shutil
import subprocess

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.costs.launch import cloud_init
from flaas_jupyter.costs.launch.cloud_init import SECRET_PLACE, Software, build, node_of, with_secret
from flaas_jupyter.errors import InvalidInput

NODE = {"url": "https://flaas.example", "secret": SECRET_PLACE, "name": "north", "datasets": [], "domain_key": "a" * 64}
SOFTWARE = Software("flaas_jupyter[node]==0.1.0")

# After cloud-init 22.4.2's schema of the modules that are used (cloudinit/config/schemas/schema-cloud-config-v1.json).
COMMAND = {"type": "array", "items": {"type": "string"}, "minItems": 1}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "users": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "system": {"type": "boolean"},
                    "lock_passwd": {"type": "boolean"},
                    "shell": {"type": "string"},
                },
            },
        },
        "ssh_pwauth": {"type": "boolean"},
        "write_files": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path"],
                "properties": {
                    "path": {"type": "string", "pattern": "^/"},
                    "permissions": {"type": "string", "pattern": "^0[0-7]{3}$"},
                    "content": {"type": "string"},
                },
            },
        },
        "runcmd": {"type": "array", "items": COMMAND},
    },
}


def document(**changes):
    return build({**NODE, **changes}, SOFTWARE, 75)


def test_cloud_inits_schema_knows_all_of_it(tmp_path):
    text = document()
    assert text.startswith("#cloud-config\n")
    jsonschema.validate(yaml.safe_load(text), SCHEMA)
    if shutil.which("cloud-init"):
        file = tmp_path / "user-data"
        file.write_text(text)
        checked = subprocess.run(["cloud-init", "schema", "--config-file", str(file)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_it_ends_by_itself_before_anything_can_fail():
    commands = yaml.safe_load(document())["runcmd"]
    assert commands[0] == ["shutdown", "-P", "+75"]
    files = {file["path"]: file for file in yaml.safe_load(document())["write_files"]}
    assert "OnBootSec=75min" in files["/etc/systemd/system/flaas-end.timer"]["content"]


def test_the_secret_is_readable_by_the_node_alone_and_the_service_may_do_little():
    files = {file["path"]: file for file in yaml.safe_load(document())["write_files"]}
    assert files[cloud_init.NODE_FILE]["permissions"] == "0600"
    unit = files["/etc/systemd/system/flaas-node.service"]["content"]
    for line in ("User=flaas", "NoNewPrivileges=yes", "ProtectSystem=strict", "Restart=on-failure"):
        assert line in unit.splitlines()


def test_a_wheel_and_an_index_of_ones_own_are_installed():
    text = build(NODE, Software("https://flaas.example/flaas.whl", "https://pypi.example/simple"), 10)
    install = next(command for command in yaml.safe_load(text)["runcmd"] if "pip" in command[0])
    assert install[-3:] == ["--index-url", "https://pypi.example/simple", "https://flaas.example/flaas.whl"]


@pytest.mark.parametrize("requirement", ["a b", "x; rm -rf /", "$(reboot)", "`id`", "a\nb", ""])
def test_what_a_shell_could_take_for_a_command_is_refused(requirement):
    with pytest.raises(InvalidInput):
        Software(requirement)


def test_too_much_for_a_cloud_is_refused():
    with pytest.raises(InvalidInput) as caught:
        document(datasets=[{"name": "d", "source": "https://x/" + "y" * 16_000}])
    assert caught.value.code == "user-data-too-large"


@given(
    st.dictionaries(
        st.sampled_from(["url", "name", "project"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    ),
    st.integers(1, 10**6),
)
def test_what_goes_in_comes_out_the_same_every_time(node, minutes):
    made = build({**node, "secret": SECRET_PLACE}, SOFTWARE, minutes)
    assert made == build({**node, "secret": SECRET_PLACE}, SOFTWARE, minutes)
    assert node_of(with_secret(made, "s" * 52)) == {
        key: value.replace(SECRET_PLACE, "s" * 52) for key, value in {**node, "secret": SECRET_PLACE}.items()
    }
    assert yaml.safe_load(made)["write_files"][0]["content"] == made_content(made)


def made_content(text):
    import json

    return json.loads(text.partition("\n")[2])["write_files"][0]["content"]


@pytest.mark.parametrize("text", ["", "#cloud-config\n", "#!/bin/sh\nreboot", "#cloud-config\n{}", "#cloud-config\n[]"])
def test_other_user_data_set_up_no_node(text):
    with pytest.raises(InvalidInput) as caught:
        node_of(text)
    assert caught.value.code == "bad-user-data"
