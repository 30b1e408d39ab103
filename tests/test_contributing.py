"""What CONTRIBUTING.md says is where it says, and the settings of the tools agree with each other."""

import re

import pytest
import yaml
from conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Beside names of code, a path has a slash or an ending.
PATH = re.compile(r"`([\w./-]+/|[\w./-]+\.(?:py|md|txt|json|cfg|yml|yaml))`")
# As examples, or made by the command that is spoken of.
NOT_THERE = {".x", "site/"}
ADDED = {
    "fusion", "modality", "corpus", "curriculum", "protocol", "row weight", "metric", "figure", "command", "setting",
    "speech encoder", "text encoder", "tracker",
}  # fmt: skip


def rows() -> dict[str, list[str]]:
    """What is to be added -> the cells of its row."""
    table = TEXT.partition("## I want to add a")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells[2:]}


@pytest.mark.parametrize("path", sorted({*PATH.findall(TEXT)} - NOT_THERE))
def test_paths_are_there(path):
    assert (ROOT / path).exists()


def test_table_says_what_to_touch():
    assert rows().keys() == ADDED
    for what, (touch, see) in rows().items():
        assert PATH.findall(touch), what
        assert PATH.findall(see) or "](docs/" in see, what


def test_pre_commit_has_the_linter_of_the_tests():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (revision,) = [each["rev"] for each in hooks if each["repo"].endswith("ruff-pre-commit")]
    pinned = re.search(r"^ruff==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert revision == f"v{pinned[1]}"


def test_every_page_is_in_the_navigation():
    """`make docs` warns of it, too, but is no part of the tests."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w-]+\.md", str(settings["nav"]))
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_api_has_every_public_name():
    import emomm

    described = re.findall(r"^::: ([\w.]+)\.(\w+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    missing = set(emomm.__all__) - {name for _, name in described}
    assert not missing
    for module, name in described:
        path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
        assert re.search(rf"^(class|def) {name}\b", path.read_text(encoding="utf-8"), re.MULTILINE), name
