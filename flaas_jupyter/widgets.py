"""Widgets for notebooks: ``flaas.widgets.CostWizard()``, ``AccessControl(project)``, ``Analytics(federation)``."""

from .notebook.access_control import AccessControl
from .notebook.analytics_widget import Analytics
from .notebook.cost_wizard import CostWizard

__all__ = ["AccessControl", "Analytics", "CostWizard"]
