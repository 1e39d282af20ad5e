"""docs/policy.md says what the code does: its examples load, its keys are the keys."""

import re
from pathlib import Path

import pytest

from ca.certificate import EXTENSIONS
from ca.policy import Role, load_policy, shape
from tests.policies import ISSUERS

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

TABLES = [
    shape.RuleTable,
    shape.RequireTable,
    shape.DenyTable,
    shape.HostTable,
    shape.CaseTable,
]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_page_is_a_policy_that_passes_its_tests(number):
    assert load_policy(EXAMPLES[number].encode(), issuers=ISSUERS).rules


def test_the_page_has_an_example_of_every_table():
    assert len(EXAMPLES) >= 5
    for table in shape.PolicyFile.__struct_fields__:
        assert any(
            f"[[{table}]]" in example or f"[{table}]" in example for example in EXAMPLES
        )


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_a_table_is_in_a_row_of_the_page(table):
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    documented = {key for row in rows for key in re.findall(r"`(\w+)`", row)}

    assert documented >= set(table.__struct_fields__)


def test_every_extension_and_role_is_on_the_page():
    for name in [*EXTENSIONS, *Role]:
        assert f"`{name}`" in PAGE
