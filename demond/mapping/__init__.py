"""Mappings: from the controls under a player's hands to the knobs, and back to their lamps, rings and motors."""

from demond.mapping.check import check_file
from demond.mapping.journal import LastMessage
from demond.mapping.loader import DEFAULT, SHIPPED, MappingError, load_mapping
from demond.mapping.mapper import Mapper
from demond.mapping.mapping import Mapping
from demond.mapping.plugs import PortIdentity
from demond.mapping.source import MappingSource

__all__ = [
    "DEFAULT",
    "SHIPPED",
    "LastMessage",
    "Mapper",
    "Mapping",
    "MappingError",
    "MappingSource",
    "PortIdentity",
    "check_file",
    "load_mapping",
]
