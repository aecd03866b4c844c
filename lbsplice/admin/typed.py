"""What a figure of `show stat` and `show info` is: where it comes from, its nature and its
scope, in the letters of the typed output and the words of the JSON output.

A tag is written as the typed output has it with the type behind: `MGP:u32`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Value = int | float | str

ORIGINS: Mapping[str, str] = MappingProxyType(
    {"M": "Metric", "S": "Status", "K": "Key", "C": "Config", "P": "Product"}
)
NATURES: Mapping[str, str] = MappingProxyType(
    {
        "G": "Gauge",
        "L": "Limit",
        "m": "Min",
        "M": "Max",
        "R": "Rate",
        "C": "Counter",
        "D": "Duration",
        "A": "Age",
        "T": "Time",
        "N": "Name",
        "O": "Output",
        "a": "Avg",
    }
)
SCOPES: Mapping[str, str] = MappingProxyType(
    {"C": "Cluster", "P": "Process", "S": "Service", "Y": "System"}
)


class _Absent(str):
    """Nothing: does not apply to this row. Not the same as a text that is empty."""

    __slots__ = ()


ABSENT = _Absent("")


def described(text: str) -> str:
    """The end of a line that tells what a figure is (`desc`)."""
    return f':"{text}"'


def field_json(position: int, name: str, tag: str, value: Value) -> str:
    """The members of a figure's JSON object, without the braces."""
    letters, kind = tag.split(":")
    origin, nature, scope = ORIGINS[letters[0]], NATURES[letters[1]], SCOPES[letters[2]]
    shown = value if isinstance(value, (int, float)) else _json_text(value)
    return (
        f'"field":{{"pos":{position},"name":"{name}"}},"processNum":1,'
        f'"tags":{{"origin":"{origin}","nature":"{nature}","scope":"{scope}"}},'
        f'"value":{{"type":"{kind}","value":{shown}}}'
    )


def _json_text(text: str) -> str:
    """JSON is UTF-8: a byte that is not (of a `description`, say) is shown as one that can
    not be."""
    if not text.isascii():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return json.dumps(text, ensure_ascii=False)


# ---- show schema json ----

_SAFE = 2**53 - 1
_RANGES = {
    "s32": (-(2**31), 2**31 - 1),
    "s64": (-_SAFE, _SAFE),
    "u32": (0, 2**32 - 1),
    "u64": (0, _SAFE),
}


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _word(words: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "string", "enum": [*words.values(), "Unknown"]}


def schema() -> str:
    """The JSON schema of the answers to `show info json` and `show stat json`."""
    item = ("field", "processNum", "tags")
    common: dict[str, Any] = {name: {"$ref": f"#/definitions/{name}"} for name in item}
    common["value"] = {"$ref": "#/definitions/typedValue"}
    number = {"type": "integer", "minimum": 0}
    row = {
        "objType": {"enum": ["Frontend", "Backend", "Listener", "Server", "Unknown"]},
        "proxyId": number,
        "id": number,
    }
    values = {
        f"{kind}Value": _object(
            {
                "type": {"type": "string", "enum": [kind]},
                "value": {"type": "integer", "minimum": low, "maximum": high},
            },
            ("type", "value"),
        )
        for kind, (low, high) in _RANGES.items()
    }
    values["strValue"] = _object(
        {"type": {"type": "string", "enum": ["str"]}, "value": {"type": "string"}},
        ("type", "value"),
    )
    return json.dumps(
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "oneOf": [
                {
                    "title": "Info",
                    "type": "array",
                    "items": {"title": "InfoItem", **_object(common, (*item, "value"))},
                },
                {
                    "title": "Stat",
                    "type": "array",
                    "items": {
                        "type": "array",
                        "items": {
                            "title": "StatItem",
                            **_object({**row, **common}, (*row, *item, "value")),
                        },
                    },
                },
                {"title": "Error", **_object({"errorStr": {"type": "string"}}, ("errorStr",))},
            ],
            "definitions": {
                "field": _object({"pos": number, "name": {"type": "string"}}, ("pos", "name")),
                "processNum": {"type": "integer", "minimum": 1},
                "tags": _object(
                    {
                        "origin": _word(ORIGINS),
                        "nature": _word(NATURES),
                        "scope": _word(SCOPES),
                    },
                    ("origin", "nature", "scope"),
                ),
                "typedValue": {
                    "type": "object",
                    "oneOf": [
                        {"$ref": f"#/definitions/typedValue/definitions/{name}"} for name in values
                    ],
                    "definitions": values,
                },
            },
        },
        separators=(",", ":"),
    )
