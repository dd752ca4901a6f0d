"""The door for devices: passes what SuperNodes say on to the SuperLink behind it, and nothing else.

A SuperLink serves three interfaces on one port. Its Fleet interface asks each caller for the signature of a registered key; the
one that registers keys and starts runs, and the one that hands out a run's tasks, ask for nothing. So the SuperLink listens
on this machine alone, where its operator is, and devices reach its Fleet interface through here.
"""

# ruff: noqa: INP001  # a script, not a package

import argparse
import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

CALLS = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "push-object",
    "pull-object",
    "confirm-message-received",
)
"""All that a registered SuperNode asks for. It neither registers itself nor takes itself off the list."""
ONE_HOP = {b"connection", b"host", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
"""Headers that are about one connection."""
SECONDS = 60.0
"""How long SuperLink may take to answer."""
BODY_SECONDS, LONGEST_BODY, MOST_HELD = 30.0, 16_000_000, 512_000_000
"""Within what a caller must have said what it wants, in how many bytes (Flower sends objects in pieces of 5 MB), and how many
may be held for all callers together. SuperLink reads a body before it asks who sends it, so strangers are bounded here."""
CALLERS = 2000
"""Connections at a time."""
UNAVAILABLE = 503
"""A SuperNode tries again after this status, and after few others."""
log = logging.getLogger("gate")


class Door:
    """Reads what a caller wants, whole and within bounds, and only then asks SuperLink."""

    def __init__(self, superlink: str, ca: Path) -> None:
        self.client = httpx.AsyncClient(
            base_url=superlink, verify=ssl.create_default_context(cafile=ca), timeout=SECONDS, trust_env=False
        )
        self._held = 0
        self._reached = True

    async def body(self, request: Request) -> bytes | int:
        """The body of a request, or the status with which it is refused."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    self._held += len(part)
                    if size > LONGEST_BODY:
                        return 413
                    if self._held > MOST_HELD:
                        return UNAVAILABLE
                    parts.append(part)
        except TimeoutError:
            return 408
        except ClientDisconnect:
            return 400
        finally:
            self._held -= size
        return b"".join(parts)

    async def pass_on(self, call: str, request: Request) -> Response:
        """SuperLink's answer to a call."""
        body = await self.body(request)
        if isinstance(body, int):
            return Response(status_code=body)
        headers = [(name, value) for name, value in request.headers.raw if name not in ONE_HOP | {b"content-length"}]
        try:
            answer = await self.client.send(self.client.build_request("POST", call, headers=headers, content=body), stream=True)
        except httpx.TransportError as error:
            if self._reached:
                log.warning("SuperLink cannot be reached: %s", error or type(error).__name__)
            self._reached = False
            return Response(status_code=UNAVAILABLE)
        self._reached = True
        kept = {name: value for name, value in answer.headers.items() if name.encode() not in ONE_HOP}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))


def gate(superlink: str, ca: Path) -> Starlette:
    """The door as an ASGI app."""
    door = Door(superlink, ca)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with door.client:
            yield

    paths = [f"/v1/fleet/{call}" for call in CALLS]
    return Starlette(routes=[Route(path, partial(door.pass_on, path), methods=["POST"]) for path in paths], lifespan=lifespan)


def main() -> None:
    """Serve the door until stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, metavar="SERVER_FOLDER", help="what certificates.sh made for the server")
    parser.add_argument("address", help="the address to listen on; 0.0.0.0 for all of this machine's")
    parser.add_argument("port", type=int, help="the port that devices connect to")
    parser.add_argument("--superlink", default="127.0.0.1:8000", metavar="ADDRESS:PORT", help="default: %(default)s")
    options = parser.parse_args()
    certificate, key, ca = (options.folder / name for name in ("server.crt", "server.key", "ca.crt"))
    for file in (certificate, key, ca):
        if not file.is_file():
            parser.error(f"{file}: expected what certificates.sh makes")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    app = gate(f"https://{options.superlink}", ca)
    uvicorn.run(
        app, host=options.address, port=options.port, ssl_certfile=certificate, ssl_keyfile=key, log_level="warning",
        server_header=False, limit_concurrency=CALLERS, timeout_graceful_shutdown=5,
    )  # fmt: skip


if __name__ == "__main__":
    main()
