"""The tables of the pages are those generated from the results."""

import re

import pytest

from experiments import tables


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: str(page.relative_to(tables.ROOT)))
def test_a_page_has_the_tables_of_its_results(page):
    text = page.read_text()
    assert tables.fill_tables(text) == text, "python experiments/tables.py writes it again"


def test_a_changed_figure_is_noticed():
    page = (tables.ROOT / "docs" / "evaluation.md").read_text()
    tampered = re.sub(r"\| 20-gram \| \d", "| 20-gram | 9", page)
    assert tampered != page and tables.fill_tables(tampered) == page
