"""The commands that are made from operations: their words, options and help are the request's own fields."""

from __future__ import annotations

import base64
import functools
import getpass
import inspect
import operator
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from cyclopts import App, Parameter
from msgspec import NODEFAULT, UNSET, Meta, Struct, UnsetType
from msgspec.structs import FieldInfo

from modelkeep.edge.cli import show
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import DONE, REFUSED, Wrongly, complain, guarded
from modelkeep.operations import OPERATIONS
from modelkeep.operations.act import Operation, allowed

Act = Operation[Any, Any]


def command(operation: Act) -> Callable[..., int]:
    """The command of an operation, as a function with the options as its parameters."""
    fields = {f.name: f for f in msgspec.structs.fields(operation.request)}
    plain = [name for name in operation.plain if name in fields]
    numbered = plain[:2] == ["model", "number"]
    parameters = [_parameter(fields[name], plain=True, optional=numbered and name == "number") for name in plain]
    parameters += [_parameter(f, plain=False) for name, f in fields.items() if name not in plain]
    common = inspect.Parameter("common", inspect.Parameter.KEYWORD_ONLY, default=USUAL, annotation=Common)

    def run(*args: Any, **kwargs: Any) -> int:
        common: Common = kwargs.pop("common", USUAL)
        given = {**dict(zip(plain, args, strict=False)), **kwargs}
        return guarded(lambda: perform(operation, _values(fields, given, numbered=numbered), common=common))

    run.__name__ = operation.name
    run.__doc__ = operation.doc.split("Raises ")[0].strip()
    run.__signature__ = inspect.Signature([*parameters, common])  # type: ignore[attr-defined]  # cyclopts reads it
    run.__annotations__ = {p.name: p.annotation for p in [*parameters, common]}
    return run


def perform(operation: Act, values: Mapping[str, Any], *, common: Common, reach: Reach | None = None) -> int:
    """Do an act and show its result; 1 when the result is bad news."""
    content = (reach or Reach(common)).do(operation, values)
    show.result(operation.name, content, as_json=common.json)
    finding = operation.finding is not allowed and operation.finding(
        msgspec.json.decode(content, type=operation.result)
    )
    if finding:
        complain(finding)
        return REFUSED
    return DONE


def _values(fields: Mapping[str, FieldInfo], given: Mapping[str, Any], *, numbered: bool) -> dict[str, Any]:
    found = {name: value for name, value in given.items() if value is not None}
    if numbered and "number" not in found:
        model, at, number = str(found["model"]).rpartition("@")
        if not at or not number.isdigit():
            raise Wrongly(f"which version of {found['model']}? write {found['model'].partition('@')[0]}@2")
        found |= {"model": model, "number": int(number)}
    if "by" in fields and not found.get("by"):
        found["by"] = me()
    defaults = {name: f.default for name, f in fields.items() if f.default is not NODEFAULT and f.default is not UNSET}
    return {
        fields[name].encode_name: _sent(fields[name], value)
        for name, value in found.items()
        if name not in defaults or value != defaults[name]
    }


def me() -> str:
    """Who acts, for the audit chain."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _parameter(field: FieldInfo, *, plain: bool, optional: bool = False) -> inspect.Parameter:
    """One option; ``plain`` ones are written without dashes."""
    found, said = _plain_type(field.type)
    kind = found | None if optional or field.default is UNSET else found
    required = field.default is NODEFAULT and field.default_factory is NODEFAULT
    default: Any = inspect.Parameter.empty
    if not required:
        default = field.default if field.default is not NODEFAULT else {}
    if optional or default is UNSET:
        default = None
    help_text = "Model, or model@number" if optional is False and plain and field.name == "model" else said
    extra: dict[str, Any] = {"name": f"--{field.name.rstrip('_').replace('_', '-')}"} if not plain else {}
    if kind is bool:
        extra["negative"] = ""
    annotation: Any = Annotated.__class_getitem__((kind, Parameter(help=help_text, **extra)))  # type: ignore[attr-defined]
    where = inspect.Parameter.POSITIONAL_OR_KEYWORD if plain else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, where, default=default, annotation=annotation)


def _plain_type(kind: Any) -> tuple[Any, str]:
    """A field's type as the command line takes it (a moment is a text), and its description."""
    said = ""
    if get_origin(kind) is Annotated:
        inner, *rest = get_args(kind)
        said = next((m.description or "" for m in rest if isinstance(m, Meta)), "")
        found, deeper = _plain_type(inner)
        return found, said or deeper
    if get_origin(kind) in {Union, types.UnionType}:
        parts = [_plain_type(part) for part in get_args(kind) if part is not UnsetType]
        kinds = [part for part, _ in parts]
        said = next((text for _, text in parts if text), "")
        if str in kinds:
            kinds = [part for part in kinds if part in {str, type(None)}]
        return functools.reduce(operator.or_, kinds), said
    if kind is bytes:
        return Path, said or "A file"
    if get_origin(kind) is dict:
        return (dict[str, float] if get_args(kind)[1] is float else dict[str, str]), said
    return (str, f"{said} (JSON, or @FILE)".lstrip()) if _nested(kind) else (kind, said)


def _nested(kind: Any) -> bool:
    """Whether a value of this kind has parts, so that one is written as JSON."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return True
    return get_origin(kind) in {tuple, list} and any(_nested(_bare(part)) for part in get_args(kind))


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _sent(field: FieldInfo, value: Any) -> Any:
    """A value as it goes into the request: a file's bytes as Base64, JSON as what it says.

    Raises Wrongly for what is no JSON, FileNotFoundError.
    """
    if isinstance(value, Path):
        return base64.b64encode(value.read_bytes()).decode()
    kinds = get_args(field.type) if get_origin(field.type) in {Union, types.UnionType} else (field.type,)
    if isinstance(value, str) and any(_nested(_bare(kind)) for kind in kinds):
        text = Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as cause:
            raise Wrongly(f"--{field.name.replace('_', '-')} is no JSON: {cause}") from None
    return value


def _made() -> dict[str, Any]:
    """Every command by its first word: a function, or an app of several for words with a second part."""
    found: dict[str, Any] = {}
    for operation in OPERATIONS:
        if len(operation.words) == 1:
            found[operation.words[0]] = command(operation)
        elif operation.words:
            first, second = operation.words
            app = found.setdefault(first, App(name=first, help_format="plaintext", result_action="return_value"))
            made = command(operation)
            app.command(made, name=second)
            if app.default_command is None and first != "config":
                app.default(made)  # the first: a list, or the one thing there is to show
    for operation in OPERATIONS:
        if operation.also:
            first, second = operation.also
            found[first].command(command(operation), name=second)
    return found


COMMANDS = _made()


def __getattr__(name: str) -> Any:
    """A command by its name, for the lazy list in ``modelkeep.edge.cli``."""
    try:
        return COMMANDS[name]
    except KeyError:
        raise AttributeError(name) from None
