"""The console's door: one-time token, session cookie, Host, Origin, Sec-Fetch-Site, and CSP."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from node.console import page
from node.console.app import Console
from node.console.door import COOKIE, Door
from node.console.picture import Fact, Picture, Plot, Row, hex_lines
from node.console.uploads import upload

PORT = 8123
HOST = f"127.0.0.1:{PORT}"


async def _inside(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("inside")(scope, receive, send)


@pytest.fixture
def door() -> Door:
    return Door(_inside, PORT)


async def _get(door: Door, path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
    sent = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    transport = httpx.ASGITransport(app=door)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        return await client.request(method, path, headers=sent)


async def _session(door: Door) -> str:
    answer = await _get(door, f"/?t={door.token}")
    assert answer.status_code == 303
    return f"{COOKIE}={answer.cookies[COOKIE]}"


async def test_the_link_opens_a_session(door: Door):
    cookie = await _session(door)
    answer = await _get(door, cookie=cookie)
    assert (answer.status_code, answer.text) == (200, "inside")


async def test_the_cookie_is_for_this_site_only(door: Door):
    answer = await _get(door, f"/?t={door.token}")
    said = answer.headers["set-cookie"].lower()
    assert "samesite=strict" in said
    assert "httponly" in said
    assert answer.headers["location"] == "/"


async def test_the_link_works_once(door: Door):
    link = f"/?t={door.token}"
    assert (await _get(door, link)).status_code == 303
    assert (await _get(door, link)).status_code == 403


@pytest.mark.parametrize("token", ["", "x", "None"])
async def test_a_wrong_token_stays_outside(door: Door, token: str):
    assert (await _get(door, f"/?t={token}")).status_code == 403
    assert (await _get(door, f"/?t={door.token}")).status_code == 303  # and does not use it up


async def test_a_used_token_is_no_password(door: Door):
    await _session(door)
    assert (await _get(door, "/?t=None")).status_code == 403


@pytest.mark.parametrize("cookie", ["", "village=", "village=x", "other=1", "village", "=;;,"])
async def test_no_session_no_page(door: Door, cookie: str):
    assert (await _get(door, cookie=cookie)).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", f"[::1]:{PORT}", ""],
)
async def test_another_name_is_dns_rebinding(door: Door, host: str):
    cookie = await _session(door)
    assert (await _get(door, cookie=cookie, host=host)).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1:1", ""]
)
async def test_another_origin_is_refused(door: Door, origin: str):
    cookie = await _session(door)
    assert (await _get(door, cookie=cookie, origin=origin)).status_code == 403


async def test_own_origin_is_let_in(door: Door):
    cookie = await _session(door)
    assert (await _get(door, cookie=cookie, origin=f"http://{HOST}")).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_a_request_that_another_site_began_is_refused(door: Door, site: str):
    cookie = await _session(door)
    assert (await _get(door, cookie=cookie, sec_fetch_site=site)).status_code == 403


async def test_another_site_cannot_use_up_the_link(door: Door):
    link = f"/?t={door.token}"
    assert (await _get(door, link, sec_fetch_site="cross-site")).status_code == 403
    assert (await _get(door, link, sec_fetch_site="none")).status_code == 303


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_the_console_only_looks(door: Door, method: str):
    cookie = await _session(door)
    assert (await _get(door, method=method, cookie=cookie)).status_code == 405


@pytest.mark.parametrize("path", ["/", "/?t=wrong"])
async def test_every_answer_keeps_the_browser_strict(door: Door, path: str):
    headers = (await _get(door, path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


# --- the page ------------------------------------------------------------------------------------

FOREIGN = "<script>alert(1)</script>"


def _picture(title: str = FOREIGN) -> Picture:
    plot = Plot({"hospital-a": "hospital", FOREIGN: "sponsor"}, {"hospital-a": "host"})
    return Picture(
        title=title,
        simulated=True,
        participants=plot.participants(),
        links=plot.links([("hospital-a", FOREIGN), (FOREIGN, "hospital-a"), ("nobody", FOREIGN)]),
        facts=(Fact(label="agreement", value=FOREIGN),),
        refusals=(Row(cells=(FOREIGN, FOREIGN, FOREIGN, FOREIGN), tone="bad"),),
        cipher=hex_lines(bytes(range(60))),
    )


def test_what_peers_wrote_is_escaped():
    html = page.whole(_picture())
    assert FOREIGN not in html
    assert "&lt;script&gt;" in html


def test_the_page_says_that_the_enclave_is_simulated():
    assert "SIMULATED ENCLAVE, NOT CONFIDENTIAL" in page.whole(_picture())


def test_two_who_talk_are_joined_once():
    assert len(_picture().links) == 1


def test_ciphertext_is_shown_in_hex():
    assert "00010203 04050607" in page.parts(_picture())["cipher"]


PUSH = {
    "agreement": "lungs", "dataset": "lung-v1", "state": "sending", "sent": 430 << 20,
    "total": 1 << 30, "rate": 38 << 20, "left": 76, "way": "lane", "why": None, "waits": None,
}  # fmt: skip


def shown(**changes: Any) -> str:
    made = replace(_picture(), uploads=(upload({**PUSH, **changes}, "hospital-a"),))
    return page.parts(made)["uploads"]


def test_a_share_on_its_way_has_a_bar_a_rate_and_a_time_left():
    html = shown()
    for said in ("hospital-a", "lung-v1", 'value="41"', "430 MiB of about 1,024 MiB", "38 MiB/s"):
        assert said in html
    assert "1 min 16 s left" in html
    assert "by bulk lane" in html


def test_a_share_on_its_way_says_what_it_waits_for_and_why_it_goes_as_it_does():
    inside = shown(way="inside", why=f"no port of {FOREIGN}", total=None, left=None)
    assert "inside the connection: no port" in inside
    assert FOREIGN not in inside
    assert "value=" not in inside, "nobody knows the whole: no per cent"
    checking = shown(state="checking", rate=0, left=None)
    assert 'value="100"' in checking
    assert "the enclave checks it" in checking
    stopped = shown(state="stopped", sent=0, way=None, waits="source.value: row 3")
    assert 'class="upload bad"' in stopped
    assert "stopped: source.value: row 3" in stopped
    assert "nothing is on its way" in page.parts(_picture())["uploads"]


async def test_the_application_serves_the_page_and_its_own_files_only():
    async def look() -> Picture:
        return _picture("lung")

    transport = httpx.ASGITransport(app=Console(look).app())  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        assert "Village: lung" in (await client.get("/")).text
        script = await client.get("/static/console.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for strange in ("/static/page.html", "/static/..%2fapp.py", "/app.py"):
            assert (await client.get(strange)).status_code == 404
