"""Widgets for notebooks: ``flaas.widgets.CostWizard()``, ``AccessControl``, ``Analytics``, ``DataExplorer``."""

from .notebook.access_control import AccessControl
from .notebook.analytics_widget import Analytics
from .notebook.cost_wizard import CostWizard
from .notebook.data_explorer import DataExplorer

__all__ = ["AccessControl", "Analytics", "CostWizard", "DataExplorer"]
