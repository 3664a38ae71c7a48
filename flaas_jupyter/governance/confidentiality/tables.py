"""The table of data keys: one row a version, wrapped; the key that unwraps it is never in the data base."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from ..tables import Base


class DataKey(Base):
    """A version of an owner's data key, wrapped by the installation's key.

    `retired` is when a later version took its place: it opens what it has sealed, until that is sealed anew.
    """

    __tablename__ = "data_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kek_id: Mapped[str] = mapped_column(index=True)
    wrapped: Mapped[str]
    created: Mapped[datetime]
    retired: Mapped[datetime | None]
