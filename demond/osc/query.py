"""OSCQuery: what demond listens to, over HTTP, and its values over WebSocket, on one port of the daemon's event loop.

It is only loaded where the settings turn it on. Whoever may send OSC may ask here, with the same role; a web page of
another origin may not, since a browser would let it reach the loopback.

Source: OSCQuery Proposal (github.com/Vidvox/OSCQueryProposal).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from demond.osc._clients import Client
from demond.osc.choices import Choices
from demond.osc.codec import SIZE_LIMIT, OscError
from demond.osc.namespace import target_of
from demond.osc.query_tree import ATTRIBUTES, QueryTree
from demond.osc.server import OscPortError, OscServer

log = logging.getLogger(__name__)

EXTENSIONS = {
    "ACCESS": True,
    "VALUE": True,
    "RANGE": True,
    "DESCRIPTION": True,
    "TAGS": True,
    "CLIPMODE": True,
    "UNIT": True,
    "TYPE": True,
    "LISTEN": True,
    "PATH_CHANGED": True,
}
CONNECTION_LIMIT = 128
SOCKET_LIMIT = 32
"""WebSocket connections."""
UNSENT_LIMIT = 1_024
"""Packets that a client may leave unread; one that leaves more is disconnected."""
_QUIET = logging.getLogger(f"{__name__}.http")
_QUIET.setLevel(logging.CRITICAL)
_PIECES = 128
"""Pieces of the tree's text that are made at a time."""


class QueryServer:
    """Serves one :class:`OscServer`."""

    def __init__(self, osc: OscServer, port: int, name: str) -> None:
        """`port` 0 takes a free one; `name` is what the host is called."""
        self._osc, self.port, self._name = osc, port, name
        self._tree = QueryTree(osc.values)
        self._named: set[str] = set()
        """The addresses of LoRAs and layers that are in the tree."""
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._sockets: dict[_WebLink, Client] = {}
        self._stop_observing: Callable[[], None] | None = None

    async def start(self) -> None:
        """Opens the port; :attr:`port` is the real one afterwards. Raises :class:`OscPortError`."""
        application = web.Application(middlewares=[self._admit], client_max_size=1 << 16)
        application.router.add_get("/{path:.*}", self._get)
        # What strangers send wrong is answered; a line of log for each would be theirs to write.
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, logger=_QUIET, shutdown_timeout=0.5
        )
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - setup made it

        def accept() -> asyncio.Protocol:
            return server() if len(server.connections) < CONNECTION_LIMIT else _Full()

        try:
            self._listener = await asyncio.get_running_loop().create_server(
                accept, self._osc.settings.bind, self.port, backlog=CONNECTION_LIMIT
            )
        except OSError as error:
            await self._runner.cleanup()
            said = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise OscPortError(error.errno or errno.EIO, said) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._stop_observing = self._osc.control.feed.observe(self._changed)
        self._follow()

    async def close(self) -> None:
        """Ends all connections. May be called twice."""
        if self._stop_observing is not None:
            self._stop_observing()
            self._stop_observing = None
        for link in tuple(self._sockets):
            await link.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def reloaded(self) -> None:
        """The mapping is another one."""
        self._follow()
        self.path_changed("/demond")

    def path_changed(self, path: str) -> None:
        """Tells everybody that what is below `path` is not what it was."""
        for link in self._sockets:
            link.command("PATH_CHANGED", path)

    def _changed(self, keys: Collection[str]) -> None:
        if any(key.startswith("lora/") for key in keys):
            self._follow()

    def _follow(self) -> None:
        """The tree has the LoRAs and the layers that there are."""
        now = set(self._osc.values.present())
        for address in self._named - now:
            self._tree.remove(address.removesuffix("/strength"))
        for address in now - self._named:
            target = target_of(address)
            if target is not None:
                self._tree.put(target)
        folders = {address.split("/")[2] for address in self._named ^ now}
        self._named = now
        for folder in sorted(folders):
            self.path_changed(f"/demond/{folder}")

    # -- HTTP ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._osc.access.role(request.remote or "") is None:
            self._osc.denied += 1
            raise web.HTTPForbidden(text="this host is not among those that osc.allow names\n")
        for header in ("Host", "Origin"):
            if not _is_address(request.headers.get(header, "")):
                said = _shown(request.headers[header])
                raise web.HTTPForbidden(
                    text=f"{header} names {said}; ask by IP address, localhost or a .local name\n"
                )
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:  # a bug of ours must not cost the performer the server
            self._osc.report_bug(error)
            raise web.HTTPInternalServerError(text="demond made a mistake; its log says more\n") from None

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._listen(request)
        asked = [*request.query]
        if asked == ["HOST_INFO"]:
            return web.json_response(self._host_info())
        node = self._tree.find("/" + request.match_info["path"].strip("/"))
        if node is None:
            raise web.HTTPNotFound(text=f"nothing is at {_shown(request.path)}\n")
        if not asked or asked == ["CONTENTS"]:
            return web.Response(text=await self._text(self._tree.text(node)), content_type="application/json")
        if len(asked) > 1 or asked[0] not in ATTRIBUTES:
            words = f"one attribute can be asked for: {', '.join(ATTRIBUTES)} or HOST_INFO\n"
            raise web.HTTPBadRequest(text=words)
        found = self._tree.attribute(node, asked[0])
        if found is None:
            return web.Response(status=204)
        return web.Response(text=found, content_type="application/json")

    async def _text(self, pieces: Iterable[str]) -> str:
        found: list[str] = []
        for i, piece in enumerate(pieces):
            found.append(piece)
            if i % _PIECES == _PIECES - 1:
                await asyncio.sleep(0)
        return "".join(found)

    def _host_info(self) -> dict[str, object]:
        info: dict[str, object] = {
            "NAME": self._name,
            "OSC_PORT": self._osc.port,
            "OSC_TRANSPORT": "UDP",
            "WS_PORT": self.port,
            "EXTENSIONS": EXTENSIONS,
        }
        bind = ipaddress.ip_address(self._osc.settings.bind)
        if not bind.is_unspecified:
            info |= {"OSC_IP": str(bind), "WS_IP": str(bind)}
        return info

    # -- WebSocket ----------------------------------------------------------------------------------------------

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        host = request.remote or ""
        role = self._osc.access.role(host)
        if role is None or len(self._sockets) >= SOCKET_LIMIT:
            raise web.HTTPServiceUnavailable(text=f"{SOCKET_LIMIT} clients are connected already\n")
        socket = web.WebSocketResponse(max_msg_size=2 * SIZE_LIMIT, heartbeat=30, compress=False)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        name = f"ws {host}:{transport.get_extra_info('peername')[1]}"
        link = _WebLink(socket, transport, name)
        client = self._osc.welcome(link, name, host, role)
        client.has_chosen, client.choices = True, replace(Choices(), bundles=False, long=True)
        self._sockets[link] = client
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    self._osc.give(client, message.data)
                elif message.type is WSMsgType.TEXT:
                    self._command(client, message.data)
        finally:
            del self._sockets[link]
            self._osc.disconnected(client)
            await link.close()
        return socket

    def _command(self, client: Client, text: str) -> None:
        """LISTEN and IGNORE; a mistake is answered like one in an OSC message."""
        try:
            match _read(text):
                case "LISTEN", path:
                    self._osc.publisher.subscribe(client, path)
                case "IGNORE", path:
                    self._osc.publisher.unsubscribe(client, path)
        except OscError as error:
            self._osc.refuse(client, error)


class _Full(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ends it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream server makes no other
        transport.abort()


class _WebLink:
    """How packets reach a WebSocket client: one at a time, and not without bound."""

    datagrams = False

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, name: str) -> None:
        self._socket, self._transport, self._name = socket, transport, name
        self._unsent: asyncio.Queue[bytes | str] = asyncio.Queue(UNSENT_LIMIT)
        self._writing = asyncio.get_running_loop().create_task(self._write())

    def send(self, packet: bytes) -> None:
        """One OSC packet."""
        self._put(packet)

    def command(self, name: str, data: str) -> None:
        """One of OSCQuery's messages."""
        self._put(json.dumps({"COMMAND": name, "DATA": data}))

    def _put(self, message: bytes | str) -> None:
        try:
            self._unsent.put_nowait(message)
        except asyncio.QueueFull:
            if not self._writing.cancelled():
                log.warning("%s does not read what it is sent and was disconnected", self._name)
                self._writing.cancel()

    async def _write(self) -> None:
        try:
            while True:
                message = await self._unsent.get()
                if isinstance(message, str):
                    await self._socket.send_str(message)
                else:
                    await self._socket.send_bytes(message)
        except ConnectionError:
            return
        finally:
            self._transport.abort()

    async def close(self) -> None:
        """Ends the connection."""
        self._writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writing


def _shown(text: str) -> str:
    """`text` as an answer can carry it, whatever bytes it was made from."""
    return text[:200].encode("ascii", "backslashreplace").decode()


def _read(text: str) -> tuple[str, str]:
    """The command and its path. Raises :class:`OscError`."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise OscError(400, "bad_args", "", 'a command is JSON such as {"COMMAND": "LISTEN", "DATA": "/demond/x"}')
    command, path = said.get("COMMAND"), said.get("DATA")
    if command not in ("LISTEN", "IGNORE") or not isinstance(path, str):
        raise OscError(400, "bad_args", "", "the commands are LISTEN and IGNORE, with an address as DATA")
    if not path.isascii():
        raise OscError(400, "bad_args", "", "an OSC address is made of ASCII characters")
    return command, path


def _is_address(header: str) -> bool:
    """Whether a Host or Origin header names an IP address, localhost or a .local name; an absent one does.

    Other names are answered by name servers, which a page of elsewhere may make say anything (DNS rebinding).
    """
    if not header:
        return True
    host = urlsplit(header if "//" in header else f"//{header}").hostname or ""
    if host == "localhost" or host.rstrip(".").endswith(".local"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
