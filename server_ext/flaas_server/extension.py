"""The Jupyter Server extension: configuration, collaborators and routes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Float, Unicode, default

from .access_handlers import ApprovalKeyHandler, DecisionHandler, DeviceHandler
from .approvals import ApprovalKey
from .catalogue import Catalogue
from .coordination_api import CoordinationApi
from .device import DeviceSignIn
from .handlers import ApiHandler, SessionHandler, StatusHandler, who_is
from .oauth import Renewal
from .session import Session
from .simulation_handlers import ProtocolsHandler, RoundsHandler, SimulationHandler, SimulationsHandler, StopHandler
from .simulations import ID, Simulations
from .upload_bridge import UploadBridge
from .upload_handlers import ID as UPLOAD
from .upload_handlers import ChunkHandler, FinishHandler, UploadHandler, UploadsHandler


class FlaasServer(ExtensionApp):
    """Federated learning in JupyterLab: the server half."""

    name = "flaas_server"

    home = Unicode(
        help="Folder with credentials, the key for approvals and simulations, shared with notebooks and the `flaas` "
        "command. Default: FLAAS_HOME, else ~/.flaas."
    ).tag(config=True)
    url = Unicode(
        "http://127.0.0.1:8470",
        help="Coordination API to offer while neither FLAAS_URL nor credentials.json names one.",
    ).tag(config=True)
    client_id = Unicode(
        "flaas-jupyterlab",
        help="The OAuth client that the coordination API knows this extension by when it signs in by code.",
    ).tag(config=True)
    timeout = Float(
        10.0,
        help="Seconds that the coordination API may take to connect or be silent in an ordinary request.",
    ).tag(config=True)
    stream_timeout = Float(
        60.0,
        help="Seconds that an event stream may be silent before it is given up and resumed by the browser.",
    ).tag(config=True)
    allow_plain_http = Bool(
        False,
        help="Whether the panel may sign in at an http:// address of another machine, where a token travels "
        "unencrypted. For a network that is encrypted by other means, such as that of containers on one host.",
    ).tag(config=True)

    @default("home")
    def _default_home(self) -> str:
        return os.environ.get("FLAAS_HOME") or str(Path.home() / ".flaas")

    def initialize_settings(self) -> None:
        """Make the session, from the environment and the file, and the ways to the API and to simulations."""
        home = Path(self.home)
        session = Session(home, self.url, self.log)
        session.take_environment(os.environ)
        api = CoordinationApi(self.timeout, self.stream_timeout, home)
        self.settings.update(
            flaas_session=session,
            flaas_api=api,
            flaas_renewal=Renewal(session, api, home, self.log),
            flaas_device=DeviceSignIn(session, api, self.client_id, who_is, self.log),
            flaas_approval_key=ApprovalKey(home),
            flaas_allow_plain_http=self.allow_plain_http,
            flaas_simulations=Simulations(home / "simulations"),
            flaas_catalogue=Catalogue(),
            flaas_uploads=UploadBridge(home, self.log),
        )

    def initialize_handlers(self) -> None:
        """Route ``{base_url}flaas/``."""
        routes: list[tuple[str, type[Any]]] = [
            (r"/flaas/status", StatusHandler),
            (r"/flaas/session", SessionHandler),
            (r"/flaas/session/device", DeviceHandler),
            (r"/flaas/approvals/key", ApprovalKeyHandler),
            (rf"/flaas/approvals/({ID})/decision", DecisionHandler),
            (r"/flaas/api(/.*)", ApiHandler),
            (r"/flaas/simulations", SimulationsHandler),
            (r"/flaas/simulations/([^/]+)", SimulationHandler),
            (r"/flaas/simulations/([^/]+)/rounds", RoundsHandler),
            (r"/flaas/simulations/([^/]+)/stop", StopHandler),
            (r"/flaas/protocols", ProtocolsHandler),
            (r"/flaas/uploads", UploadsHandler),
            (rf"/flaas/uploads/({UPLOAD})", UploadHandler),
            (rf"/flaas/uploads/({UPLOAD})/chunks/(\d{{1,10}})", ChunkHandler),
            (rf"/flaas/uploads/({UPLOAD})/finish", FinishHandler),
        ]
        self.handlers.extend(routes)

    async def stop_extension(self) -> None:
        """Close the connections to the API, and leave off asking, when the server stops."""
        await self.settings["flaas_device"].cancel()
        await self.settings["flaas_api"].close()
        await self.settings["flaas_catalogue"].close()
        await self.settings["flaas_uploads"].close()
