"""The page of checks on evidence says what the code does."""

from tests.hooks import mutants_docs


def test_the_page_is_what_the_code_says() -> None:
    assert mutants_docs.PAGE.read_text(encoding="utf-8") == mutants_docs.render()
