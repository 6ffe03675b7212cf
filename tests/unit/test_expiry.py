"""What ends is said 30, 7 and 1 days ahead, once each, whatever restarts come between."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node import expiry
from node.enrolments import Enrolments
from node.expiry import Announcements, Ending
from node.happenings import Happenings
from node.store.journal import Journal
from node.vault import endings as vault_endings
from node.vault.contents import Contents, Enrolment, Given, Keys, Participation, Use
from node.world import World
from protocol import shape, token
from protocol.kinds.consent import Consent
from protocol.kinds.identity import Claims, Credential, CredentialRevocation, PersonCredential
from tests.agreements import AT, seed
from tests.unit.test_space import CAST, Telling, invite

DAY = expiry.DAY
END = AT + 100 * DAY
CLAIMS = Claims(legal_name="A", country="NL")


class Desk:
    """What Announcements needs of a node, on a real journal and a real space."""

    def __init__(self, folder: Path, me: str = "hospital-a") -> None:
        self.folder = folder
        self.now = float(AT)
        self.me = CAST[me]
        self.told = Telling().found()
        self.letters = False
        self.open()

    def open(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.journal = Journal.open(self.folder / "journal.db")
        participant = self.me.participant
        world = World(participant)
        world.rooms[self.told.space.id] = SimpleNamespace(  # type: ignore[assignment]
            machine=self.told.space, topic=self.told.space.id
        )
        self.happenings = Happenings()
        registrar = SimpleNamespace(enrolments=Enrolments(self.journal)) if self.letters else None
        self.node: Any = SimpleNamespace(
            keyring=SimpleNamespace(me=participant, did=participant.did),
            journal=self.journal,
            world=world,
            happenings=self.happenings,
            registrar=registrar,
        )
        self.task = Announcements(self.node, lambda: self.now)

    def restart(self) -> None:
        self.journal.close()
        self.open()

    def at(self, now: float) -> list[str]:
        """What is announced at a time."""
        self.now = now
        return [f"{one.kind} {one.step(int(now))}" for one in self.task.look()]

    def credential(self, subject: str, until: int) -> Any:
        body = Credential(subject=CAST[subject].did, claims=CLAIMS, until=until)
        return self.told.say("registrar", "credential", body)


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    found = Desk(tmp_path / "node")
    yield found
    found.journal.close()


def test_each_step_is_said_once_over_restarts(desk: Desk) -> None:
    desk.credential("hospital-a", END)
    assert desk.at(END - 31 * DAY) == []
    assert desk.at(END - 30 * DAY) == ["credential 30"]
    assert desk.at(END - 20 * DAY) == []
    desk.restart()
    assert desk.at(END - 19 * DAY) == []
    assert desk.at(END - 7 * DAY) == ["credential 7"]
    desk.restart()
    assert desk.at(END - 1 * DAY) == ["credential 1"]
    assert desk.at(END - 60) == []
    assert desk.at(END + 1) == ["credential 0"]
    desk.restart()
    assert desk.at(END + 9 * DAY) == []


def test_a_node_that_was_off_says_the_last_step_alone(desk: Desk) -> None:
    desk.credential("hospital-a", END)
    assert desk.at(END - DAY // 2) == ["credential 1"]


def test_what_is_made_for_a_few_days_says_only_steps_that_come_after(desk: Desk) -> None:
    desk.told.say("hospital-a", "invite", invite(CAST["sponsor"], until=AT + 10 * DAY))
    desk.credential("hospital-a", AT + 7 * DAY)
    assert desk.at(AT) == []
    assert expiry.soon(desk.node, AT + 60) == []
    assert desk.at(AT + 3 * DAY) == ["invite 7"]
    assert desk.at(AT + 6 * DAY) == ["credential 1"]
    assert desk.at(AT + 7 * DAY) == ["credential 0"]


def test_a_clock_that_was_set_back_says_nothing_again(desk: Desk) -> None:
    desk.credential("hospital-a", END)
    assert desk.at(END - 6 * DAY) == ["credential 7"]
    assert desk.at(END - 29 * DAY) == []
    assert desk.at(END - 6 * DAY) == []


def test_what_is_renewed_ends_no_more_and_its_new_end_is_another(desk: Desk) -> None:
    desk.credential("hospital-a", END)
    assert desk.at(END - 7 * DAY) == ["credential 7"]
    made = desk.credential("hospital-a", END + 90 * DAY)
    assert desk.at(END) == []
    assert desk.journal.states("expiry/") == {}
    assert desk.at(END + 60 * DAY) == ["credential 30"]
    taken = CredentialRevocation(credential=made.id, reason="")
    desk.told.say("registrar", "credential-revocation", taken)
    # The older one counts again, and it is over.
    assert desk.at(END + 61 * DAY) == ["credential 0"]


def test_keys_end_with_their_identity(desk: Desk) -> None:
    until = desk.me.participant.until
    assert sorted(desk.at(until - 5 * DAY)) == ["identity 7", "key 7"]
    assert {one.command for one in expiry.soon(desk.node, until)} == {"village key renew"}


def test_a_registrar_hears_of_what_it_issued_and_others_do_not(tmp_path: Path) -> None:
    for name, said in (("registrar", ["issued 7"]), ("hospital-b", [])):
        here = Desk(tmp_path / name, name)
        here.credential("hospital-a", END)
        assert here.at(END - 7 * DAY) == said
        assert here.at(END + 1) == []
        here.journal.close()


def test_invites_that_wait(desk: Desk) -> None:
    desk.told.say("hospital-a", "invite", invite(CAST["sponsor"], until=END))
    desk.told.say("hospital-b", "invite", invite(CAST["biostat-lab"], until=END))
    assert desk.at(END - DAY) == ["invite 1"]
    assert desk.at(END + DAY) == []


def test_thousands_of_people_are_one_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "node", "registrar")
    desk.letters = True
    desk.restart()
    kept = desk.node.registrar.enrolments
    people = [(f"row-{n}", "patient") for n in range(2000)]
    made = kept.write(people, END, [seed(str(n))[:16] for n in range(2000)], AT)
    assert desk.at(END - 7 * DAY) == ["letters 7"]
    (line,) = expiry.soon(desk.node, END - 7 * DAY)
    assert line.what == "the validity of 2000 unused letters"
    kept.cancel(None, AT)
    assert made
    assert desk.at(END - DAY) == []
    desk.journal.close()


def test_what_is_said_is_an_event_with_the_command_that_renews(desk: Desk) -> None:
    desk.credential("hospital-a", END)
    desk.at(END - 7 * DAY)
    (said,) = desk.happenings.kept
    date = time.strftime("%Y-%m-%d", time.gmtime(END))
    assert (said.event, said.details["kind"]) == ("ends", "credential")
    assert said.details["words"] == f"the own credential in lung ends in 7 days ({date})"
    assert "registrar" in said.details["command"]


@pytest.mark.parametrize(
    ("left", "step"), [(31 * DAY, None), (30 * DAY, 30), (7 * DAY + 1, 30), (1, 1), (0, 0), (-9, 0)]
)
def test_steps(left: int, step: int | None) -> None:
    one = Ending(kind="key", id="", what="", until=AT + left, command="", lasting=True)
    assert one.step(AT) == step


# --- a person's vault ---------------------------------------------------------------------------


def contents(until: int, uses: tuple[int, ...] = ()) -> Contents:
    own = seed("own")
    credential = PersonCredential(key=own, category="patient", until=until)
    word = token.sign(own, "person", credential)
    consent = Consent(
        agreement=own, ordinal=1, notice=own, purpose="p", categories=(), recipients=(), first=1,
        last=12, until=END, told=False, sealing=own, secret=own, gateway=own,
    )  # fmt: skip
    given = Given(ordinal=1, consent=token.sign(own, "consent", consent), at=AT)
    keys = {"signing": own, "sealing": own, "node": own, "secret": own}
    part = Participation(
        agreement=own, name="lung", gateway=own, address="", keys=Keys(**keys), opening=own,
        given=(given,),
        uses=tuple(
            Use(number=n, run=own, outcome="released", used=True, certificate=own, leaves=own,
                at=AT) for n in uses
        ),
    )  # fmt: skip
    enrolled = Enrolment(registrar=own, identity=b"", address="", credential=word)
    return Contents(name="me", enrolment=enrolled, participations=(part,))


def test_a_vault_says_each_end_once() -> None:
    found = contents(END - 10 * DAY)
    names = []
    for day in range(-60, 3):
        found, new = vault_endings.announced(found, END + day * DAY)
        names += [(day, one.words.split(" ends")[0].split(" ended")[0]) for one in new]
    credential, consent = "your credential", "your consent to lung"
    assert names == [
        (-40, credential), (-30, consent), (-17, credential), (-11, credential),
        (-10, credential), (-7, consent), (-1, consent), (0, consent),
    ]  # fmt: skip


def test_a_vault_says_that_its_window_of_runs_ends() -> None:
    found, new = vault_endings.announced(contents(END), AT)
    assert new == []
    for number, left in ((9, None), (10, 2), (11, 1), (12, 0)):
        changed = contents(END, tuple(range(1, number + 1)))
        found, new = vault_endings.announced(replace(changed, announced=found.announced), AT)
        words = [one.words for one in new]
        said = (
            [] if left is None else [f"your consent to lung: {left} of its runs 1 to 12 are left"]
        )
        assert words == said


def test_old_contents_of_a_vault_still_open() -> None:
    assert shape.decode(Contents, shape.encode(contents(END))).announced is None
