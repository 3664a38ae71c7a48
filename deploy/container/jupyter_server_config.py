"""JupyterLab in the image `node-lab`: everything that is written lies in the volume or under /tmp."""

import os
from pathlib import Path

c = get_config()  # noqa: F821 - Jupyter defines it

notebooks = Path(os.environ["FLAAS_HOME"]) / "notebooks"
notebooks.mkdir(exist_ok=True)
c.ServerApp.root_dir = str(notebooks)
c.ServerApp.ip = "0.0.0.0"  # noqa: S104 - the container's own network; what is published is the operator's choice
c.ServerApp.open_browser = False
# Sockets of kernels as files: no other container on the network can connect to a kernel.
c.KernelManager.transport = "ipc"
c.LabApp.news_url = None
