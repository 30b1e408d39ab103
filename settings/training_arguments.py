"""Names and types of the fields of `transformers.TrainingArguments`, read from its source.

Importing it takes 5-8 s, for which nobody wants to wait to hear that an option is misspelled.
"""

import ast
import functools
import importlib.util
from enum import Enum
from pathlib import Path
from typing import Any
from typing import Literal

_FILE, _ENUM_FILES = "training_args.py", ("training_args.py", "trainer_utils.py", "debug_utils.py")


@functools.cache
def training_argument_kinds() -> dict[str, Any]:
    """Name -> annotation of every field. Enums are others of the same values; where a type can't be told from the
    source, all of them are taken from the class itself."""
    try:
        return _read()
    except (ImportError, OSError, SyntaxError, NameError, AttributeError, TypeError, StopIteration):
        import dataclasses

        from transformers import TrainingArguments

        return {field.name: field.type for field in dataclasses.fields(TrainingArguments)}


def _read() -> dict[str, Any]:
    folder = Path(importlib.util.find_spec("transformers").origin).parent
    trees = {name: ast.parse((folder / name).read_text(encoding="utf-8")) for name in _ENUM_FILES}
    names: dict[str, Any] = {"Any": Any, "Literal": Literal, "ParallelismConfig": object}
    for tree in trees.values():
        names |= {node.name: _enum(node) for node in _classes(tree) if _base(node) == "ExplicitEnum"}
    body = next(node for node in _classes(trees[_FILE]) if node.name == "TrainingArguments").body
    fields = [node for node in body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: _type(node.annotation, names) for node in fields}


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def _base(node: ast.ClassDef) -> str | None:
    return node.bases[0].id if node.bases and isinstance(node.bases[0], ast.Name) else None


def _enum(node: ast.ClassDef) -> type[Enum]:
    values = {
        each.targets[0].id: each.value.value
        for each in node.body
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
    }
    return Enum(node.name, values, type=str)


def _type(node: ast.expr, names: dict[str, Any]) -> Any:
    """The type that an annotation stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    return eval(compile(ast.Expression(node), _FILE, "eval"), dict(names))  # noqa: S307 a type, of transformers' source


__all__ = ["training_argument_kinds"]
