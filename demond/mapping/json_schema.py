"""The JSON Schema of mapping files and device profiles, for editors. Made from the models that the loader goes by."""

from __future__ import annotations

from typing import Any, Literal

from demond.knobs import KNOBS
from demond.mapping.profile_schema import ProfileFile
from demond.mapping.schema import MappingFile


def json_schema(kind: Literal["mapping", "profile"]) -> dict[str, Any]:
    """The schema. An editor offers the names of knobs, and takes any other text that may be a target."""
    model = MappingFile if kind == "mapping" else ProfileFile
    found = model.model_json_schema(by_alias=True)
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    if kind == "mapping":
        names = {"anyOf": [{"enum": [knob.name for knob in KNOBS]}, {"type": "string"}]}
        entry = found["$defs"]["MapEntry"]["properties"]["to"]
        entry["anyOf"] = [names if option == {"type": "string"} else option for option in entry["anyOf"]]
        found["$defs"]["TargetEntry"]["properties"]["knob"] = names
    return found
