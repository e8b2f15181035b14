"""Zeroconf (mDNS, DNS-SD): says where OSC and OSCQuery are, and hears where others receive OSC.

It is only loaded where the settings turn it on. The services `_oscjson._tcp` and `_osc._udp` carry the same name,
since programs pair them by it. On the loopback it is heard on this machine alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

import ifaddr
from zeroconf import InterfaceChoice, NonUniqueNameException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

OSC, OSC_QUERY = "_osc._udp.local.", "_oscjson._tcp.local."
HOST_LIMIT = 256
_REQUEST_MS = 3_000
_NAMES = 20


class Announcer:
    """Two services of ours, and everybody's OSC ports."""

    def __init__(self, name: str, bind: str, osc_port: int, query_port: int) -> None:
        """`bind` is the IP address that both ports are bound to."""
        self.name = name
        """What we are called; another demond may have had the name."""
        self._bind = ipaddress.ip_address(bind)
        self._ports = {OSC_QUERY: query_port, OSC: osc_port}
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._heard: dict[str, tuple[str, int]] = {}
        """IP address and port of each service, by its name."""
        self._port_of: dict[str, int] = {}

    async def run(self) -> None:
        """Announces until cancelled, and then takes it back."""
        interfaces = InterfaceChoice.All if self._bind.is_unspecified else [str(self._bind)]
        try:
            self._zeroconf = AsyncZeroconf(interfaces=interfaces)
        except OSError as error:
            log.warning("OSCQuery is not announced: %s", error)
            return
        try:
            await self._register(self._zeroconf)
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, [OSC], handlers=[self._noticed])
            await asyncio.Event().wait()
        finally:
            for task in self._asking:
                task.cancel()
            if self._browser is not None:
                await self._browser.async_cancel()
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()

    def port_of(self, host: str) -> int | None:
        """The port on which programs on `host` receive OSC, if it is the only one that they announce."""
        return self._port_of.get(host)

    def _hear(self, name: str, where: tuple[str, int] | None) -> None:
        """The service called `name` is at `where` now, or nowhere."""
        if where is None:
            self._heard.pop(name, None)
        elif name in self._heard or len(self._heard) < HOST_LIMIT:
            self._heard[name] = where
        ports: dict[str, set[int]] = {}
        for host, port in self._heard.values():
            ports.setdefault(host, set()).add(port)
        self._port_of = {host: found.pop() for host, found in ports.items() if len(found) == 1}

    async def _register(self, zeroconf: AsyncZeroconf) -> None:
        """Both services under one name, which nobody else has."""
        first = self.name
        for number in range(2, _NAMES):
            services = self._services()
            try:
                for service in services:
                    await (await zeroconf.async_register_service(service))
            except NonUniqueNameException:
                await zeroconf.async_unregister_all_services()
                self.name = f"{first} ({number})"
            else:
                return
        log.warning("OSCQuery is not announced: %d programs are called %s already", _NAMES, first)

    def _services(self) -> list[AsyncServiceInfo]:
        addresses = None if self._bind.is_unspecified else [self._bind.packed]
        return [
            AsyncServiceInfo(
                kind,
                f"{self.name}.{kind}",
                port=port,
                addresses=addresses if addresses is not None else _own_addresses(),
                server=f"{socket.gethostname().partition('.')[0]}-demond.local.",
            )
            for kind, port in self._ports.items()
        ]

    def _noticed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if name.startswith(f"{self.name}."):
            return
        if state_change is ServiceStateChange.Removed:
            self._hear(name, None)
        elif len(self._asking) < HOST_LIMIT:
            task = asyncio.get_running_loop().create_task(self._ask(zeroconf, service_type, name))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if await info.async_request(zeroconf, _REQUEST_MS) and info.port is not None:
            for address in info.parsed_addresses():
                self._hear(name, (address, info.port))


def _own_addresses() -> list[bytes]:
    """This machine's IPv4 addresses, but for the loopback."""
    texts = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    found = [ipaddress.ip_address(text) for text in texts]
    return [address.packed for address in found if not address.is_loopback]
