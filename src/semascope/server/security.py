"""Who may talk to the server, and what its answers let a browser do.

A page of another site must not read a run, nor write into its catalog, through the browser of somebody who has it open:
neither under a name of its own that it lets point to this machine (DNS rebinding), which the Host header gives away,
nor by requests across sites, which Origin and Sec-Fetch-Site give away. Bound to another address than this machine's
own, everybody on the network could ask: there a token is needed.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from urllib.parse import SplitResult, urlencode, urlsplit

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

POLICY = (
    "default-src 'self'",
    "img-src 'self' data: blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)

_MOST_BYTES = 256 * 1024
_COOKIE_SECONDS = 30 * 24 * 3600
_HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. Without a ``token`` only this machine, by one of its own names; with it whoever has it."""

    token: str | None = None

    @classmethod
    def bound_to(cls, host: str) -> Access:
        """What a server at this address needs: a new token, unless only this machine reaches it."""
        return cls(None if host in LOOPBACK else secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """The name of the cookie: another one for each server, since cookies do not tell ports apart."""
        return f"semascope_{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"

    def admits(self, given: str | None) -> bool:
        """Whether this is the token."""
        return self.token is None or secrets.compare_digest((given or "").encode(), self.token.encode())


class Guard:
    """Refuses what `Access` does not allow, requests that are too large, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope)
        if (refusal := _foreign(request, self._access) or self._entrance(request)) is not None:
            await refusal(scope, receive, send_guarded)
        else:
            await self._app(scope, _limited(receive), send_guarded)

    def _entrance(self, request: Request) -> Response | None:
        """What somebody gets who does not have the token, or who brings it for the first time."""
        access = self._access
        if access.token is None:
            return None
        given = request.query_params.get("token")
        if given is not None and access.admits(given) and request.method == "GET":
            rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
            path = "/" + request.scope["path"].lstrip("/")  # two slashes would lead to another host
            answer = RedirectResponse(path + (f"?{urlencode(rest)}" if rest else ""), 303)
            answer.set_cookie(access.cookie, access.token, max_age=_COOKIE_SECONDS, httponly=True, samesite="lax")
            return answer
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        shown = bearer if scheme.lower() == "bearer" else request.cookies.get(access.cookie)
        if access.admits(shown):
            return None
        detail = "this server wants its token: open the address that 'semascope serve' printed, with ?token=… in it"
        return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})


def _foreign(request: Request, access: Access) -> Response | None:
    """The refusal of a request that another site makes, or that came by a name that is not this machine's."""
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if access.token is None and _address(f"//{host}").hostname not in LOOPBACK:
        return _refusal(f"'{host}' is no address of this server: open it by 127.0.0.1 or localhost")
    if origin is not None and _address(origin).netloc.lower() != host.lower():
        return _refusal(f"'{origin}' is another site than '{host}', and requests across sites end here")
    # What a browser sends along without an Origin: images and scripts of other sites, and links, which may lead here.
    site = request.headers.get("Sec-Fetch-Site", "none")
    link = request.headers.get("Sec-Fetch-Mode") == "navigate" and not request.scope["path"].startswith("/api")
    if site not in ("none", "same-origin") and not link:
        return _refusal("another site asked for this, and requests across sites end here")
    return None


def _refusal(detail: str) -> Response:
    return JSONResponse({"detail": detail}, 403)


def _address(text: str) -> SplitResult:
    """The parts of an address; none of one that cannot be read."""
    try:
        parts = urlsplit(text)
        _ = parts.hostname
    except ValueError:
        return urlsplit("")
    return parts


def _limited(receive: Receive) -> Receive:
    """Receive no more than so many bytes, however many were announced."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > _MOST_BYTES:
            raise HTTPException(413, f"the request has more than {_MOST_BYTES:,} bytes: send less at once")
        return message

    return limited
