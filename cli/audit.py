"""`emomm audit`: what a corpus, a split or the experiments of a recipe give away, before anything is trained."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..job_folder import slug_of
from .parsing import Parser
from .parsing import add_corpus
from .parsing import corpus_paths
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .parsing import with_release
from .parsing import with_underscores

if TYPE_CHECKING:
    from ..audit.audited import Audit
    from ..settings.settings import Settings

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code, 1 where --strict finds a problem."""
    options = _parser().parse_args([with_underscores(argument) for argument in argv])
    say_at_once(f"{options.name}: loading")
    speak()
    from ..experiments.auditing import audit_settings

    wanted, loaded = _wanted(options), {}
    of_recipe = _kind(options.name, bool(options.recipe)) == "recipe"
    bare = not of_recipe and not options.recipe
    found = [audit_settings(settings, loaded, options.brief, bare, not of_recipe) for settings in wanted]
    if options.json:
        show(json.dumps([each.to_dict() for each in found], indent=2, ensure_ascii=False))
    else:
        for each in found:
            _say(each)
            output = options.output or str(Path("audited") / slug_of(options.name))
            folder = output if len(found) == 1 else str(Path(output) / slug_of(each.name))
            _write(each, folder)
    return 1 if options.strict and any(each.problems for each in found) else 0


def _say(found: "Audit") -> None:
    from ..reporting.audit_page import lead

    show(f"{found.name}: {lead(found)}")
    for each in found.findings:
        show(f"  {'problem' if each.problem else 'to know'}: {each.check}: {each.text}")


def _write(found: "Audit", folder: str) -> None:
    from ..reporting.report import write_audit

    show(f"{write_audit(found, folder)}\n")


def _wanted(options: argparse.Namespace) -> "list[Settings]":
    """The settings of what is to be audited: a recipe's experiments, or one that stands for a corpus or a manifest."""
    from ..settings.recipe import load_recipe

    name, paths = options.name, corpus_paths(options.corpora_paths)
    kind = _kind(name, bool(options.recipe))
    if kind == "recipe":
        if options.recipe:
            raise InputError(f"--recipe goes with a corpus or a manifest, and {name} is a recipe itself")
        recipe = load_recipe(name, {"corpus": json.dumps(paths)} if paths else {}, options.experiment)
        return [replace(settings, allow_overlap=True) for settings in recipe.experiments]
    if options.experiment and not options.recipe:
        raise InputError("--experiment goes with a recipe")
    if options.recipe:
        given = {"corpus": json.dumps(paths)} if paths else {}
        settings = load_recipe(options.recipe, given, options.experiment or 0).experiments[0]
    else:
        settings = _bare(name, kind, paths)
    if kind == "manifest":
        return [replace(settings, name=_called(name), evaluation_mode="manifest", manifest=name, allow_overlap=True)]
    return [_of_corpus(settings, name)]


def _kind(name: str, of_recipe: bool) -> str:
    """manifest, release (a folder), corpus or recipe."""
    from ..corpora.builtin import BUILTIN
    from ..settings.recipe import RECIPES

    path = Path(name)
    if path.is_dir():
        return "manifest" if any(path.glob("[Ff]old*")) else "release"
    if path.suffix.lower() in _TABLES:
        return "manifest"
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return "recipe"
    is_corpus = of_recipe or (name in BUILTIN and not (RECIPES / f"{name}.json").exists())
    return "corpus" if is_corpus else "recipe"


def _bare(name: str, kind: str, paths: dict[str, str]) -> "Settings":
    """Settings that only name a corpus: that of --corpus, of a manifest."""
    from ..settings.settings import Settings

    if kind == "manifest" and len(paths) != 1:
        raise InputError(
            f"{name} is a manifest: say whose utterances it names, with --corpus NAME=PATH, or with --recipe RECIPE "
            "whose corpora and settings count"
        )
    corpus = next(iter(paths)) if kind == "manifest" else name
    return Settings(name=_called(name), train_dataset=corpus, corpus=paths)


def _called(name: str) -> str:
    """The last part of a path, with which results go by."""
    return Path(name).resolve().name or "root"


def _of_corpus(settings: "Settings", name: str) -> "Settings":
    name, paths = with_release(name, settings.corpus, ", and holds no folds (fold_1, ...)")
    return replace(
        settings, name=name, train_dataset=name, test_datasets=None, corpus=paths, evaluation_mode="published",
        manifest=None, protocol_module=None, allow_overlap=True,
    )  # fmt: skip


def _parser() -> Parser:
    parser = Parser(
        prog="emomm audit",
        description="Say what a corpus or a split gives away: speakers, sentences and recordings on two sides, "
        "near-duplicates, labels that session, duration or sentence tell, and more. Trains nothing. Writes a page.",
    )
    parser.add_argument(
        "name", metavar="WHAT", help="a recipe; a corpus' name or release folder; or a manifest (or EmoBox's folds)"
    )
    add_corpus(parser)
    parser.add_argument("--recipe", metavar="RECIPE", help="recipe whose corpora count, for a corpus or a manifest")
    parser.add_argument("--experiment", metavar="NAME", help="one experiment of the recipe: its name or number")
    parser.add_argument("--brief", action="store_true", help="only what takes no time, as before each job")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a problem is found")
    parser.add_argument("--output", metavar="DIR", help="folder to write (default: audited/WHAT)")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON, and write nothing")
    return parser


__all__ = ["command"]
