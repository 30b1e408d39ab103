"""`emomm recipes`: the recipes that come with the package."""

from ..settings.recipe import RECIPES
from ..settings.values import parse_json
from .parsing import Parser


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    parser = Parser(prog="emomm recipes", description="List the packaged recipes: `emomm run NAME` runs one.")
    parser.parse_args(argv)
    paths = sorted(RECIPES.glob("*.json"))
    width = max(len(path.stem) for path in paths)
    for path in paths:
        recipe = parse_json(path.read_text(encoding="utf-8"))
        names = ", ".join(entry["name"] for entry in recipe["experiments"])
        print(f"{path.stem:{width}}  {recipe['description']}")
        print(f"{'':{width}}  Experiments: {names}.")
    return 0


__all__ = ["command"]
