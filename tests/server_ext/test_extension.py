"""The extension as Jupyter Server finds it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import flaas_server
from flaas_server.extension import FlaasServer


def test_jupyter_server_finds_the_extension(jp_serverapp):
    assert jp_serverapp.extension_manager.extensions["flaas_server"].enabled
    assert isinstance(next(iter(jp_serverapp.extension_manager.extension_apps["flaas_server"])), FlaasServer)


def test_every_setting_is_explained():
    settings = FlaasServer.class_own_traits(config=True)

    assert set(settings) == {"home", "url", "client_id", "timeout", "stream_timeout", "allow_plain_http"}
    assert all(trait.help for trait in settings.values())


def test_importing_the_extension_loads_neither_the_kernels_package_nor_jupyter_server():
    code = "import flaas_server, sys; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "'flaas_server'" in loaded
    assert "'flaas_jupyter'" not in loaded
    assert "'jupyter_server'" not in loaded


def test_the_version_is_that_of_the_front_end():
    package = json.loads((Path(__file__).parents[2] / "package.json").read_text())

    assert flaas_server.__version__ == package["version"]
