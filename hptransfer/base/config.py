"""YAML files with dotted overrides, validated into pydantic models; every mistake is one line that names the offending value."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hptransfer.base.errors import UsageError, first_line, one_line, unknown
from hptransfer.base.stored import MOST_YAML_BYTES, from_json, from_yaml, shown

Model = TypeVar("Model", bound=BaseModel)

# Folders with <name>.yaml files, nearest first: the user's own, the copy inside an installed package, the repository's.
_HERE = Path(__file__).parents[1]


def find_config(folder: str, name: str) -> Path:
    """Path of ``<folder>/<name>.yaml``, or of ``name`` itself where it is a file."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UsageError(f"no file {name}")
        return Path(name)
    homes = [Path(folder), _HERE / "packaged" / folder, _HERE.parent / folder]
    for home in homes:
        if (path := home / f"{name}.yaml").exists():
            return path
    what = {"experiments": "experiment", "search_spaces": "search space"}[folder]
    raise unknown(what, name, {path.stem for home in homes for path in home.glob("*.yaml")})


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        with path.open(encoding="utf-8") as file:
            data = from_yaml(file.read(MOST_YAML_BYTES + 1))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        hint = "; a value with braces, such as a command, is quoted within {...}" if "flow mapping" in str(error) else ""
        raise UsageError(f"{path} is not YAML: {error}{hint}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path} does not hold a mapping of keys to values")
    return data


def override(data: dict[str, Any], assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """A copy of ``data`` with each ``a.b=value`` of an ``option`` applied; values are YAML."""
    data = merge({}, data)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not all(dotted.split(".")):
            raise UsageError(f"{option} {shown(assignment)} is not of the form a.b=value")
        try:
            value = from_yaml(text)
        except ValueError as error:
            raise UsageError(f"{option} {shown(assignment)}: the value is not YAML: {error}") from None
        data = merge(data, nested(dotted, value))
    return data


def nested(dotted: str, value: Any) -> dict[str, Any]:
    """``a.b`` and a value as ``{"a": {"b": value}}``."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return dict(value)


def merge(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of ``data`` with ``changes`` merged over it, mapping by mapping."""
    result = {key: merge({}, value) if isinstance(value, dict) else value for key, value in data.items()}
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merge(old if isinstance(old, dict) else {}, value) if isinstance(value, dict) else value
    return result


def checked(model: type[Model], data: Any, where: str) -> Model:
    """``data`` as ``model``; the first mistake becomes one line that starts with ``where``."""
    try:
        return model.model_validate(data)
    except UsageError as error:  # of a name that is in no registry
        raise UsageError(f"{where}: {error}") from None
    except ValidationError as error:
        # A key that nobody knows tells more than the one that is then missing.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        dotted = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = first.get("ctx", {}).get("known") or _fields(model, first["loc"])
            raise UsageError(f"{where}: unknown key {dotted!r}{_nearest_key(first['loc'], known)}") from None
        message = first["msg"].removeprefix("Value error, ")
        given = f" (got {shown(first['input'])})" if not isinstance(first["input"], dict | BaseModel) else ""
        raise UsageError(f"{where}: {dotted}: {message}{given}" if dotted else f"{where}: {message}") from None


def read_json(model: type[Model], path: Path, command: str) -> Model:
    """The ``model`` in a JSON file that ``command`` writes. Raises UsageError, in one line, for a damaged file."""
    try:
        return model.model_validate(from_json(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {fault(error)}; make it with `{command}`") from None


def fault(error: ValueError) -> str:
    """What is wrong with stored data, in one line; of a model's faults the first, with its place."""
    if not isinstance(error, ValidationError):
        return f"the file: {one_line(first_line(error))}"
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{shown(where)[1:-1] or 'the file'}: {one_line(first['msg'])}"


def _fields(model: type[BaseModel], loc: tuple[int | str, ...]) -> Sequence[str]:
    """The fields of the model that a key was found in; none where that is no model."""
    current: Any = model
    for part in loc[:-1]:
        field = current.model_fields.get(str(part)) if isinstance(current, type) and issubclass(current, BaseModel) else None
        current = field.annotation if field is not None else None
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else ()


def _nearest_key(loc: tuple[int | str, ...], known: Sequence[str]) -> str:
    """The hint for a misspelt key: the nearest of those that are known where it was found."""
    if not known:
        return ""
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    nearest = ".".join([*(str(part) for part in loc[:-1]), close[0]]) if close else ""
    return f"; did you mean {nearest!r}?" if close else f"; known: {', '.join(known)}"
