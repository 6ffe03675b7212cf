"""The door of the console: who may come in from a browser on this machine.

A link with a one-time token opens a session; a cookie of this session (SameSite=Strict, HttpOnly)
is asked for ever after. Other web pages that the same browser shows are the enemy here: they can
make it send requests to a loopback port (CSRF, DNS rebinding), so Host, Origin and Sec-Fetch-Site
must all be ours. Numbered as they are checked, cheapest first.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response

COOKIE: Final = "village"
TOKEN: Final = "t"  # noqa: S105 (the name of a parameter)

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: nothing but our own files, and nobody may frame us."""

HEADERS: Final = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(slots=True)
class Door:
    """An ASGI application around another. `port` is the one that we listen on.

    The token works once; who has it already used it has the cookie.
    """

    app: App
    port: int
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(32))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def link(self) -> str:
        """Where to begin, for one person, once."""
        return f"http://127.0.0.1:{self.port}/?{TOKEN}={self.token}"

    @property
    def hosts(self) -> frozenset[str]:
        """The only names under which a browser may reach us."""
        return frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on a request that may come in."""
        if scope["type"] != "http":
            return
        answer = self._answer(scope)
        if answer is None:
            await self.app(scope, receive, _with_headers(send))
        else:
            await answer(scope, receive, _with_headers(send))

    def _answer(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self.hosts:  # 1. DNS rebinding
            return _no("another name than this console's")
        if headers.get("origin", f"http://{host}") != f"http://{host}":  # 2. another site's script
            return _no("another origin")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):  # 3. its pages
            return _no("a request that another site began")
        if scope["method"] not in ("GET", "HEAD"):  # 4. this console only looks
            return PlainTextResponse("read-only", 405)
        given = QueryParams(scope["query_string"]).get(TOKEN)
        if given is not None:  # 5. the link
            return self._open(given)
        if not _same(_cookie(headers), self.session):  # 6. the session
            return _no("no session: use the link that the program printed; it works once")
        return None

    def _open(self, given: str) -> Response:
        if self.token is None or not _same(given, self.token):
            return _no("the link is not valid, or was used already")
        self.token = None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self.session, httponly=True, samesite="strict", path="/")
        return answer


def _no(why: str) -> Response:
    return PlainTextResponse(f"Not let in: {why}.\n", 403)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _with_headers(send: Send) -> Send:
    """Every answer has the headers that keep a browser strict."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            raw = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message["headers"] = [*message.get("headers", []), *raw]
        await send(message)

    return sending
