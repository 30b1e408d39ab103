"""The benchmarks name functions of the package: they are there."""

import importlib
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def test_parts_of_killed_commands_are_functions_of_the_package(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    parts = [
        place
        for of_command in importlib.import_module("killed_commands").PARTS.values()
        for place in of_command.values()
    ]
    assert len(parts) > 5
    for module, function in parts:
        assert callable(getattr(importlib.import_module(module), function, None)), f"{module}.{function}"
