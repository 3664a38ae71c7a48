"""Lists in pages: by key, never by offset, so that a list that grows meanwhile repeats and skips nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi.responses import Response
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from ..errors import InvalidInput
from . import hal

DEFAULT, MOST = 50, 200


@dataclass(frozen=True)
class Page:
    """Which part of a list is asked for.

    Parameters
    ----------
    path : str
        The list's own.
    limit : int
        Entries, 1 to 200.
    cursor : str, optional
        Where the last page ended; opaque to callers.
    query : dict
        Further parameters of the list, kept in its links.
    """

    path: str
    limit: int
    cursor: str | None
    query: dict[str, str]

    def after(self, kind: type[int] | type[str]) -> Any:
        """Return the key that the cursor stands for, None at the beginning.

        Raises
        ------
        InvalidInput
            Code ``bad-cursor``.
        """
        if self.cursor is None:
            return None
        try:
            where, key = json.loads(base64.urlsafe_b64decode(self.cursor.encode("ascii")))
            if where != self.path or type(key) is not kind or (isinstance(key, int) and abs(key) >= 1 << 63):
                raise ValueError(where)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(
                f"{self.cursor[:80]!r} is no cursor of {self.path}.",
                code="bad-cursor",
                hint="Follow the `next` links, or start without a cursor.",
            ) from error
        return key

    def rows(
        self,
        session: Session,
        query: Select[Any],
        key: InstrumentedAttribute[Any],
        *,
        kind: type[int] | type[str] = str,
        descending: bool = False,
    ) -> list[Any]:
        """Return this page's rows of `query`, one more than `limit` if there is another page."""
        after = self.after(kind)
        if after is not None:
            query = query.where(key < after if descending else key > after)
        query = query.order_by(key.desc() if descending else key).limit(self.limit + 1)
        return list(session.scalars(query))

    def answer(
        self,
        name: str,
        found: Sequence[Any],
        show: Callable[[Any], hal.Resource],
        key: Callable[[Any], Any],
        **links: Any,
    ) -> Response:
        """Return the page of `found` (see `rows`), its entries as `show` has them, linked to the next by `key`.

        Further `links` of the list are added; those that are None are not there.
        """
        shown = found[: self.limit]
        headers = {}
        if len(found) > self.limit:
            onward = self._href(self._cursor(key(shown[-1])))
            links["next"] = hal.link(onward)
            headers["Link"] = f'<{onward}>; rel="next"'
        body = {"_embedded": {name: [show(row) for row in shown]}}
        return hal.answer(hal.resource(body, self._href(self.cursor), **links), headers=headers, tagged=False)

    def _cursor(self, key: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.path, key]).encode()).decode()

    def _href(self, cursor: str | None) -> str:
        given = {**self.query, "limit": str(self.limit), **({"cursor": cursor} if cursor else {})}
        return f"{self.path}?{urlencode(given)}"
