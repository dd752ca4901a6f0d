"""The door for devices: passes what SuperNodes say on to the SuperLink behind it, and nothing else.

A SuperLink serves three interfaces on one port. Its Fleet interface asks each caller for the signature of a registered key; the
one that registers keys and starts runs, and the one that hands out a run's tasks, ask for nothing. So the SuperLink listens
on this machine alone, where its operator is, and devices reach its Fleet interface through here.
"""

# ruff: noqa: INP001  # a script, not a package

import argparse
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
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
UNAVAILABLE = 503
"""A SuperNode tries again after this status, and after few others."""


def gate(superlink: str, ca: Path) -> Starlette:
    """The door as an ASGI app."""
    client = httpx.AsyncClient(
        base_url=superlink, verify=ssl.create_default_context(cafile=ca), timeout=SECONDS, trust_env=False
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    async def forward(request: Request) -> Response:
        headers = [(name, value) for name, value in request.headers.raw if name not in ONE_HOP]
        question = client.build_request("POST", request.url.path, headers=headers, content=request.stream())
        try:
            answer = await client.send(question, stream=True)
        except httpx.TransportError:
            return Response(status_code=UNAVAILABLE)
        kept = {name: value for name, value in answer.headers.items() if name.encode() not in ONE_HOP}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))

    return Starlette(routes=[Route(f"/v1/fleet/{call}", forward, methods=["POST"]) for call in CALLS], lifespan=lifespan)


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
    logging.getLogger("httpx").setLevel(logging.WARNING)
    app = gate(f"https://{options.superlink}", ca)
    uvicorn.run(
        app, host=options.address, port=options.port, ssl_certfile=certificate, ssl_keyfile=key, log_level="warning",
        server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
