"""The clouds' own exports: every row is kept, and its amounts add up like the file's."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from decimal import Decimal

import pandas as pd
import pytest

from flaas_jupyter.costs.billing import files, focus, native

from .bills import samples

AZURE = {"encoding": "utf-8-sig"}
FILES = {
    "aws_cur_export.csv": ("lineItem/UnblendedCost", "lineItem/CurrencyCode", "aws"),
    "aws_cur_2023-06.csv": ("lineItem/UnblendedCost", "lineItem/CurrencyCode", "aws"),
    "azure_ea_export.csv": ("CostInBillingCurrency", "BillingCurrencyCode", "azure"),
    "azure_EA_ActualCost_Small.csv": ("Cost", "BillingCurrency", "azure"),
    "azure_EA_AmortizedCost_Small.csv": ("Cost", "BillingCurrency", "azure"),
    "azure_costexport_v2.csv": ("CostInBillingCurrency", "BillingCurrencyCode", "azure"),
    "gcp_billing_export_2020-11.csv": ("cost", "currency", "gcp"),
    "gcp_billing_export_2022-08.csv": ("cost", "currency", "gcp"),
}


@pytest.mark.parametrize("name", FILES)
def test_totals_are_those_of_the_file(name):
    path = samples() / "native" / name
    cost, currency, provider = FILES[name]
    frame = pd.read_csv(path, encoding="utf-8-sig")
    if "credits" in frame:
        credits = frame["credits"].map(lambda text: sum(each["amount"] for each in ast.literal_eval(text)))
        frame[cost] = frame[cost] + credits
    rows = list(files.read(path))
    assert len(rows) == len(frame)
    for code, expected in frame.groupby(currency)[cost].sum().items():
        billed = sum(Decimal(str(row["BilledCost"])) for row in rows if row["BillingCurrency"] == code)
        assert float(billed) == pytest.approx(expected, abs=1e-9)
    assert {focus.provider(row["ProviderName"]) for row in rows} == {provider}


@pytest.mark.parametrize("name", [name for name in FILES if name != "azure_costexport_v2.csv"])
def test_what_comes_out_is_focus(name):
    path = samples() / "native" / name
    assert len(list(files.charges_of(path))) == len(list(files.read(path)))


def test_a_made_up_currency_is_refused_by_row_and_column():
    with pytest.raises(focus.NotFocus, match="row 1, BillingCurrency: 'MC'"):
        list(files.charges_of(samples() / "native" / "azure_costexport_v2.csv"))


def test_tags_without_braces_dates_and_the_last_day_of_a_period():
    row = next(iter(files.charges_of(samples() / "native" / "azure_ea_export.csv")))
    assert row["Tags"] == {"tagA": "valueA", "tagB": "valueB", "tagC": "valueC"}
    assert row["ChargePeriodStart"] == datetime(2023, 9, 2, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2023, 10, 1, tzinfo=UTC)


AWS = {
    "lineItem/UnblendedCost": "3", "lineItem/UsageStartDate": "2026-08-01T00:00:00Z", "lineItem/UsageEndDate":
    "2026-08-01T01:00:00Z", "lineItem/CurrencyCode": "USD", "bill/PayerAccountId": "1", "lineItem/ProductCode":
    "AmazonEC2", "bill/BillingPeriodStartDate": "2026-08-01T00:00:00Z", "bill/BillingPeriodEndDate":
    "2026-09-01T00:00:00Z", "resourceTags/user:flaas-project": "credit", "resourceTags/user:owner": "",
}  # fmt: skip


def test_tags_of_a_cost_and_usage_report_name_the_project():
    charge, problems = focus.check(native.from_aws(AWS))
    assert problems == []
    assert (charge["Tags"], charge["ServiceCategory"]) == ({"flaas-project": "credit"}, "Compute")


def test_what_a_savings_plan_covers_is_effective_at_its_price():
    covered = {
        **AWS, "lineItem/LineItemType": "SavingsPlanCoveredUsage", "savingsPlan/SavingsPlanEffectiveCost": "2",
        "pricing/publicOnDemandCost": "3.5",
    }  # fmt: skip
    charge, _ = focus.check(native.from_aws(covered))
    assert [charge[name] for name in focus.COSTS] == [3, 2, Decimal("3.5")]


def test_labels_of_google_name_the_project_however_they_are_written(tmp_path):
    header = (
        "billing_account_id,service.description,sku.id,usage_start_time,usage_end_time,project.id,labels,cost,currency,"
        "credits,invoice.month,cost_type"
    )
    when = "2026-08-01 00:00:00+00:00,2026-08-01 01:00:00+00:00"
    cost, credit = "2.5,EUR", """[{""amount"": -0.5}]"""
    row = f"A,Compute Engine,S,{when},p"
    lines = [
        f"""{row},"[{{""key"": ""flaas-project"", ""value"": ""credit""}}]",{cost},"{credit}",202608,regular""",
        f"""{row},"[{{'key': 'flaas-project', 'value': 'credit'}}]",{cost},[],202608,tax""",
    ]
    path = tmp_path / "export.csv"
    path.write_text("\n".join([header, *lines]))
    first, second = files.charges_of(path)
    assert first["Tags"] == second["Tags"] == {"flaas-project": "credit"}
    assert (first["BilledCost"], first["ListCost"], second["ChargeCategory"]) == (2, Decimal("2.5"), "Tax")


def test_an_export_with_a_broken_cell_is_refused_not_guessed(tmp_path):
    path = tmp_path / "export.csv"
    header = "MeterId,Cost,Date,BillingPeriodStartDate,BillingPeriodEndDate,Tags"
    path.write_text(f"{header}\nm,1,someday,2026-08-01,2026-08-31,\n")
    with pytest.raises(focus.NotFocus, match="row 1"):
        list(files.read(path))
