"""The JSON Schema of each kind of file, for editors. Made from the models that reading them goes by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from demond.knobs import KNOBS
from demond.mapping.profile_schema import ProfileFile
from demond.mapping.schema import MappingFile

Kind = Literal["mapping", "profile", "settings"]


def json_schema(kind: Kind) -> dict[str, Any]:
    """The schema. An editor offers the names of knobs, and takes any other text that may be a target."""
    from demond.config import Config  # the settings import YAML reading, which must not import them back

    models: dict[Kind, type[BaseModel]] = {"mapping": MappingFile, "profile": ProfileFile, "settings": Config}
    found = models[kind].model_json_schema(by_alias=True)
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    if kind == "mapping":
        names = {"anyOf": [{"enum": [knob.name for knob in KNOBS]}, {"type": "string"}]}
        entry = found["$defs"]["MapEntry"]["properties"]["to"]
        entry["anyOf"] = [names if option == {"type": "string"} else option for option in entry["anyOf"]]
        found["$defs"]["TargetEntry"]["properties"]["knob"] = names
    return found
