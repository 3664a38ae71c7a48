"""Widgets for notebooks: ``flaas.widgets.CostWizard()``, ``flaas.widgets.AccessControl(project)``."""

from .notebook.access_control import AccessControl
from .notebook.cost_wizard import CostWizard

__all__ = ["AccessControl", "CostWizard"]
