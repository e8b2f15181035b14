"""Who may send to demond, and what. Used by the OSC servers for each sender, and by OSCQuery for each request.

The loopback may do everything. Beyond it, only networks that the settings name are heard at all, each with a role.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from enum import Enum


class Role(Enum):
    """What a sender may do; each includes those before it."""

    READ = "read"
    """Ask and subscribe."""
    SET = "set"
    """And set knobs and settings, and fire what a performer fires."""
    COMMAND = "command"
    """And command the daemon: reload its mapping, load a checkpoint, change its log level."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do what `other` may."""
        return _ORDER[self] >= _ORDER[other]


_ORDER = {role: i for i, role in enumerate(Role)}


class Access:
    """The settings' networks, looked up by address."""

    def __init__(self, networks: Mapping[str, Role]) -> None:
        """`networks` such as `192.168.1.0/24` or `192.168.1.20`. Raises `ValueError` for what is none."""
        self._networks = [(ipaddress.ip_network(network), role) for network, role in networks.items()]
        # The narrowest network that an address is in decides.
        self._networks.sort(key=lambda each: each[0].prefixlen, reverse=True)
        self.role = functools.lru_cache(maxsize=1_024)(self._role)
        """The role of a host by its IP address; None for one that is not heard."""

    @property
    def beyond_loopback(self) -> bool:
        """Whether anybody else than this machine is heard."""
        return bool(self._networks)

    def _role(self, host: str) -> Role | None:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_loopback:
            return Role.COMMAND
        return next((role for network, role in self._networks if mapped in network), None)
