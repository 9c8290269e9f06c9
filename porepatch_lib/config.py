"""Checking the user's files against a schema, with one sentence that says what to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from porepatch_lib.errors import PorePatchError

SCHEMAS = Path(__file__).resolve().parents[1] / "workflow" / "schemas"

_TYPES = {
    "object": "a section",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}
_BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "exclusiveMaximum": "less than"}


def validate_config(config: Mapping[str, Any], schema_path: str | Path) -> None:
    """Check the workflow's configuration against a JSON schema written in YAML.

    Raises:
        PorePatchError: for the first unknown or missing key, wrong type or value out of range.
    """
    validate(dict(config), schema_path, "the config", "key")


def validate(document: Any, schema_path: str | Path, where: str, noun: str) -> None:
    """Check any document. `where` names it and `noun` its entries ("key", "column") in the error sentence.

    Raises:
        PorePatchError: for the first error found; unknown entries come first, as one may be the cause of another.
    """
    # The C loader is ten times as fast, and every job of a workflow reads the schema.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema = yaml.load(Path(schema_path).read_text(encoding="utf-8"), loader)
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(document),
        key=lambda error: (error.validator != "additionalProperties", [str(part) for part in error.absolute_path]),
    )
    if errors:
        raise PorePatchError(_sentence(errors[0], where, noun))


def _sentence(error: jsonschema.ValidationError, where: str, noun: str) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    section = f"{where}, section '{path}'" if path else where
    this = f"{noun.capitalize()} '{path}' in {where}" if path else where[:1].upper() + where[1:]
    found: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    if error.validator == "additionalProperties":
        return _unknown(found, schema.get("properties", {}), section, noun)
    if error.validator == "required":
        missing = next(name for name in wanted if name not in found)
        return f"Missing {noun} '{missing}' in {section}; add it."
    if error.validator == "dependentRequired":
        given, missing = next((key, name) for key, names in wanted.items() if key in found for name in names if name not in found)
        return f"Missing {noun} '{missing}' beside '{given}' in {section}; add it."
    if error.validator == "type":
        kinds = " or ".join(_TYPES[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
        return f"{this} must be {kinds}, not {found!r}."
    if error.validator in _BOUNDS:
        return f"{this} must be {_BOUNDS[error.validator]} {wanted}, not {found!r}."
    if error.validator == "enum":
        return f"{this} must be one of {', '.join(map(str, wanted))}, not {found!r}{suggestion(found, wanted) or '.'}"
    if error.validator == "pattern" and "description" in schema:
        return f"{this} is {found!r}; it must be {schema['description']}."
    return f"{this} is not valid: {error.message}."


def _unknown(found: Mapping[Any, Any], known: Iterable[str], section: str, noun: str) -> str:
    name = next(name for name in found if name not in known)
    mend = suggestion(name, known) or f"; known are {', '.join(known) or 'none'}."
    return f"Unknown {noun} '{name}' in {section}{mend}"


def suggestion(found: Any, known: Iterable[Any]) -> str:
    """Return the end of a sentence that names the known entry nearest to a wrong one, or "" where none is near."""
    close = difflib.get_close_matches(str(found), [str(name) for name in known], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
