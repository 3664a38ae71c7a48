"""Widgets for notebooks: ``flaas.widgets.CostWizard()``."""

from .notebook.cost_wizard import CostWizard

__all__ = ["CostWizard"]
