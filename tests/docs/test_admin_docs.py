"""The pages of admin API and configuration are those that the code gives."""

import pytest

from node import config
from node.admin.methods import METHODS
from tools import admin_docs


@pytest.mark.parametrize("page", admin_docs.PAGES, ids=lambda page: page.name)
def test_the_page_is_current(page):
    assert page.read_text(encoding="utf-8") == admin_docs.PAGES[page](), (
        "run: python tools/admin_docs.py"
    )


def test_every_method_and_parameter_stands_in_the_page_with_a_sentence():
    page = admin_docs.admin_api()
    for method in METHODS.values():
        assert f"### `{method.name}`" in page
        assert method.doc
        for parameter in method.parameters:
            assert parameter.doc, f"{method.name}: {parameter.name} has no sentence"


def test_every_key_stands_in_the_page():
    page = admin_docs.configuration()
    for key in config.describe():
        assert f"| `{key.key}` |" in page.partition(f"## [{key.section}]")[2]
