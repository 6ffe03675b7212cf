"""A run with states and logs in words."""

from node.cli.run import words

RUN = {
    "number": 2, "name": "vitals", "outcome": "released", "run": "ab" * 32, "confidential": True,
    "technology": "sev-snp", "entry": "predict", "parameters": "{}", "ordered_by": "@sponsor",
    "host": "@host-1", "term": 1, "statements": 4, "contributors": 9, "rows": 9, "shares": 2,
    "people": 0, "code": None, "gate": [], "charges": [], "trigger": None, "due": None,
    "withheld": None, "votes": ["@a"], "needed": 4, "logs": [], "states": [], "outputs": [],
}  # fmt: skip


def test_states_that_were_read_dropped_and_written_are_told():
    states = [
        {"name": "weights", "of_run": 1, "digest": "00", "used": True},
        {"name": "old", "of_run": 1, "digest": "00", "used": False},
    ]
    outputs = [
        {"name": "model", "to": "@sponsor", "size": 12, "digest": "00"},
        {"name": "next", "to": "later runs", "size": 0, "digest": "00"},
    ]
    found = list(words({**RUN, "states": states, "outputs": outputs, "logs": ["@lab"]}))
    assert found[-6:-1] == [
        "  state weights of run 1 read",
        "  state old of run 1 dropped: a consent behind it was withdrawn",
        "  model to @sponsor, 12 bytes",
        "  next to later runs, kept by the enclaves",
        "  log to @lab",
    ]


def test_a_run_without_them_says_nothing_of_them():
    assert not [line for line in words(RUN) if "state " in line or "log" in line]
