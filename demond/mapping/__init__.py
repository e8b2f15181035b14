"""Mappings: from the controls under a player's hands to the knobs."""

from demond.mapping.loader import DEFAULT, SHIPPED, Mapping, MappingError, check_file, load_mapping
from demond.mapping.mapper import LastMessage, Mapper
from demond.mapping.source import MappingSource

__all__ = [
    "DEFAULT",
    "SHIPPED",
    "LastMessage",
    "Mapper",
    "Mapping",
    "MappingError",
    "MappingSource",
    "check_file",
    "load_mapping",
]
