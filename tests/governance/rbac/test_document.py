"""docs/roles.md is what the table of permissions says."""

from __future__ import annotations

from pathlib import Path

import pytest

from flaas_jupyter.governance.permissions import PERMISSIONS, ROLES
from flaas_jupyter.governance.rbac import document
from flaas_jupyter.governance.rbac.functions import FUNCTIONS

from .test_conformance import STANDARD

PAGE = Path(__file__).parents[3] / "docs" / "roles.md"


def test_the_page_is_up_to_date():
    present = PAGE.read_text()
    assert present == document.updated(present), (
        "write it anew: python -m flaas_jupyter.governance.rbac.document docs/roles.md"
    )


def test_it_tells_every_role_permission_and_function():
    tables = document.tables()
    for name in (*ROLES, *PERMISSIONS, *FUNCTIONS):
        assert f"`{name}`" in tables


def test_a_page_without_its_markers_is_not_written_over():
    with pytest.raises(ValueError, match="markers"):
        document.updated("# Roles\n")


def test_writing_anew_keeps_what_people_have_written(tmp_path: Path):
    page = tmp_path / "roles.md"
    page.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    document.main([str(page)])
    assert page.read_text() == f"before\n{document.BEGIN}\n\n{document.tables()}\n\n{document.END}\nafter\n"


def test_the_table_of_functions_is_the_standard():
    assert set(STANDARD.split()) <= set(FUNCTIONS)
    for function in FUNCTIONS.values():
        assert function.call.__doc__
        assert (function.action is not None) == (function.kind == "administrative")
