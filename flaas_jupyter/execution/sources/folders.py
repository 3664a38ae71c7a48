"""Which folders data may be read from: the policy's ``data_folders``, and no link or ``..`` that leads out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import NotAllowed
from ..formats import format_of
from ..formats.refusals import unreadable

# What the node itself puts down there as data; every other folder of its home is keys, credentials and state.
_OWN = ("data", "uploads")


@dataclass(frozen=True)
class AllowedFolders:
    """Folders that files may lie in, once all links in their paths are followed.

    Parameters
    ----------
    folders : sequence of Path
        Without links in them; none means any.
    home : Path
        `FLAAS_HOME`: its own folders of data are always allowed, the rest of it never is.
    """

    folders: Sequence[Path]
    home: Path

    @classmethod
    def of(cls, home: Path, listed: Sequence[str], *, by_operator: bool) -> AllowedFolders:
        """Return what the policy allows.

        Parameters
        ----------
        home : Path
            `FLAAS_HOME`.
        listed : sequence of str
            ``data_folders`` of the policy; empty lets the node's owner choose any folder, and others none.
        by_operator : bool
            Whether the node's owner named the file.
        """
        home = home.expanduser().resolve()
        own = () if by_operator and not listed else tuple(home / name for name in _OWN)
        return cls((*((home / Path(folder).expanduser()).resolve() for folder in listed), *own), home)

    def checked(self, path: Path) -> Path:
        """Return where `path` leads when all links are followed.

        Raises
        ------
        NotAllowed
            ``policy-data-folders``: out of the allowed folders; ``link-out-of-folder``: a link leads there;
            ``own-home``: into what the node keeps for itself.
        InvalidInput
            ``unreadable-data``: links that lead nowhere.
        """
        try:
            real = path.resolve()
        except (OSError, RuntimeError) as error:
            raise unreadable(path, "its links lead nowhere") from error
        if self._is_state(real):
            raise NotAllowed(
                f"{path} is in {self.home}, where this node keeps keys and state; data are never read from there.",
                code="own-home",
                hint="Move the data to another folder.",
            )
        if not self.folders or any(real.is_relative_to(folder) for folder in self.folders):
            return real
        allowed = ", ".join(map(str, self.folders))
        if any(path.absolute().is_relative_to(folder) for folder in self.folders) and ".." not in path.parts:
            raise NotAllowed(
                f"{path} is a link that leads out of the folders that data may be in: {allowed}.",
                code="link-out-of-folder",
                hint="Copy the file there.",
            )
        raise NotAllowed(
            f"{path} is not in a folder that data may be read from; allowed are: {allowed}.",
            code="policy-data-folders",
            hint="Copy the data there; or the owner of this node adds their folder to data_folders in node.toml.",
        )

    def _is_state(self, real: Path) -> bool:
        if not real.is_relative_to(self.home) or any(real.is_relative_to(self.home / name) for name in _OWN):
            return False
        # The node's own records are JSON too.
        return real.parent != self.home or format_of(real.name) in (None, "jsonl")
