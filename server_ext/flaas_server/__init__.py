"""Server half of the JupyterLab panel: one signed-in session, one narrow way to the coordination API.

The browser talks to Jupyter Server only; the token stays in this process and in `FLAAS_HOME`, from where
notebooks read it too. Nothing here imports the kernel's package, so that either half can be installed and
started without the other's libraries.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["__version__"]

__version__ = version("flaas_jupyter")  # one wheel, one version


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .extension import FlaasServer  # only a server needs tornado and Jupyter Server

    return [{"module": "flaas_server", "app": FlaasServer}]
