"""Who may use the page: nobody but the one who started it, unless --host says otherwise.

A server on loopback is open to every web site that its user visits: the site can send requests to it (CSRF), and after
it has pointed its own name to 127.0.0.1 (DNS rebinding) it can read the answers too. Hence:

- On loopback, requests whose Host is not a name of loopback are refused.
- On other addresses, every request needs the token that the address printed at the start holds; the first page stores
  it in a cookie that other sites cannot send.
- Requests that change something and come from another origin are refused, by Origin and Sec-Fetch-Site.
- The page loads nothing from elsewhere and runs no inline script (Content-Security-Policy).
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
COOKIE = "hummingbird_token"
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; object-src 'none'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware that refuses requests of others; see the module.

    Args:
      app: gets what is allowed.
      token: what every request has to know; "" on loopback, where Host is checked instead.
    """

    def __init__(self, app: ASGIApp, token: str = ""):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused:
            await JSONResponse({"error": refused}, 403, headers=SECURITY)(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    found.setdefault(name, value)
                if self.token and self._in_address(scope):
                    found.append("Set-Cookie", f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        await self.app(scope, receive, secured)

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        """Says why a request is refused; "" if it is not."""
        host = headers.get("host", "")
        if not self.token and hostname(host) not in LOOPBACK:
            return f"this page is served to this machine only, not as {host[:100]!r}"
        if self.token and not (self._in_address(scope) or self._in_cookie(headers)):
            return "this page needs the token that `hummingbird serve` printed in its address"
        if scope["method"] not in ("GET", "HEAD"):
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
            if site not in ("same-origin", "none") or (origin is not None and origin.partition("://")[2] != host):
                return "a request from another site is refused"
        return ""

    def _in_address(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _in_cookie(self, headers: Headers) -> bool:
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(given.encode(), self.token.encode())


def hostname(host: str) -> str:
    """Returns the name in a Host header, without the port.

    Example:
      >>> hostname("localhost:7860"), hostname("[::1]:7860"), hostname("EVIL.example")
      ('localhost', '[::1]', 'evil.example')
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name.lower().rstrip(".")
