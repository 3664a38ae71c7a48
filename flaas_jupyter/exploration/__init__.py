"""The data explorer: what may be seen of a federation's data, by whom, and as far as the owners show it.

`Exploration` has the views: what there is (`overview`, `nodes`), and what statistics tell of it (`column`, `missing`,
`correlations`, `labels`, `drift`). Each is a `View`: JSON values for JupyterLab's panel and the widget, a table and a
chart for notebooks. Views are made of descriptions and of `flaas_jupyter.analytics` only.
"""

from .exploration import PARTS, Exploration, options_of
from .source import Described, Explored, Looked
from .view import View

__all__ = ["PARTS", "Described", "Exploration", "Explored", "Looked", "View", "options_of"]
