"""The page of commands is the one that the commands give, and each says what it does."""

import re
from pathlib import Path

from node.cli import talk
from node.cli.main import COMMANDS
from tools import cli_docs

ROOT = Path(__file__).parents[2]


def verbs():
    for name, command in cli_docs.commands():
        yield from cli_docs.verbs(f"village {name}", command)


def test_the_page_is_current():
    page = cli_docs.PAGE.read_text(encoding="utf-8")
    assert page == cli_docs.page(), "run: python tools/cli_docs.py"


def test_every_command_has_a_sentence_an_example_and_words_for_its_options():
    for line, command in verbs():
        assert command.help, line
        assert "Example: village" in f"{command.help} {command.epilog}", line
        for one in command.params:
            assert getattr(one, "help", None), f"{line}: {one.name}"


def test_every_command_stands_in_the_page_once():
    page = cli_docs.page()
    for line, _ in verbs():
        assert len(re.findall(rf"^##+ {line}$", page, re.MULTILINE)) == 1, line


def test_every_exit_code_stands_in_the_page():
    codes = (talk.DONE, talk.FAILED, talk.USAGE, talk.REFUSED, talk.FORBIDDEN, talk.UNKNOWN,
             talk.WAITS, talk.NO_DAEMON, talk.INTERRUPTED)  # fmt: skip
    assert [int(one) for one in re.findall(r"^\| (\d+) \|", cli_docs.page(), re.MULTILINE)] == [
        *codes
    ]


def test_the_pages_for_people_name_only_commands_that_are_there():
    known = {" ".join(line.split()[:3]) for line, _ in verbs()}
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for noun, verb in re.findall(r"\bvillage ([a-z]+)(?: ([a-z][a-z-]*))?", _typed(path)):
            assert noun in COMMANDS, f"{path.name}: village {noun}"
            single = f"village {noun}" in known
            assert single or not verb or f"village {noun} {verb}" in known, (
                f"{path.name}: {noun} {verb}"
            )


def _typed(path):
    """What stands between backticks, in shell blocks, or set in: what people type."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = re.findall(r"^    (village .*)$", text, re.MULTILINE)
    return "\n".join([*blocks, *lines, *re.findall(r"`(village [^`]*)`", text)])
