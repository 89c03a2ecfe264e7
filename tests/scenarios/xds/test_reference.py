"""The page about xDS says what the scenarios prove."""

from tests.scenarios.xds.reference import LEFT_OUT, MARK, PAGE, rules, table


def test_the_table_is_what_the_scenarios_say():
    """The table of scenarios on the page equals the one made from their docstrings."""
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index(MARK) :] == table(), "write it anew: python -m tests.scenarios.xds.reference"


def test_every_row_has_a_scenario():
    """Every row from 1 to 58 has a scenario, but for those about what is not offered."""
    assert {rule.number for rule in rules()} == set(range(1, 59)) - LEFT_OUT


def test_every_scenario_states_its_rule():
    """Every scenario states its rule in one sentence."""
    assert [rule.test for rule in rules() if not rule.sentence.endswith(".") or ". " in rule.sentence] == []
