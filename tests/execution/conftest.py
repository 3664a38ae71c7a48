import pytest
from round_table import FakePlan


@pytest.fixture
def fake_plan(monkeypatch):
    """Aggregator and participants take a plan that needs no Keras."""
    for module in ("aggregator", "participant"):
        monkeypatch.setattr(f"flaas_jupyter.execution.{module}.TrainingPlan", FakePlan)
