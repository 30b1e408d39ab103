"""Which corpora a cross-corpus evaluation tests on, where the recipe leaves that open."""

from collections.abc import Callable
from collections.abc import Mapping

from ..choices import EVALUATION_MODES
from ..choices import FROM_OUTSIDE
from ..choices import OF_TRAINING_CORPORA
from ..corpora.builtin import BUILTIN
from ..corpora.corpus import Corpus
from ..corpora.places import NotThere
from ..corpora.spec import CorpusSpec
from ..errors import InputError
from ..settings.settings import Settings


def tested_corpora(
    settings: Settings, specs: Mapping[str, CorpusSpec], load: Callable[[str], Corpus]
) -> tuple[list[Corpus], list[str]]:
    """The corpora that are tested on besides the training corpora's own sessions, and notes on those that are not.

    `test_datasets` where it names any. Where it is null, the other corpora that the recipe (or `--corpus`) names;
    where those are none, and only corpora of the Hub that are built in are trained on, the others of them. Of these,
    what can't be reached is left out, and said: the licensed ones are not everybody's. A user's own protocol, a
    published split and a manifest get those that `test_datasets` names alone.

    Args:
        settings: the experiment.
        specs: all corpora it can name.
        load: gives a corpus by name.

    Raises:
        InputError: of a corpus that is there and can't be used; none is named, or none can be reached.
    """
    mode = settings.evaluation_mode
    alone = mode in FROM_OUTSIDE or mode not in EVALUATION_MODES  # such a protocol may well do without
    if mode in OF_TRAINING_CORPORA or (alone and settings.test_datasets is None):
        return [], []
    if settings.test_datasets is not None:
        return [load(name) for name in settings.test_datasets], []
    found, notes, first = [], [], None
    for name in _candidates(settings):
        try:
            found.append(load(name))
        except NotThere as error:
            first = first or error
            why = type(error.__cause__).__name__ if error.__cause__ else "there is no such place"
            notes.append(f"{name} is not tested on: it can't be reached ({why}); --corpus {name}=PATH gives a copy")
    if not found:
        raise InputError(
            f"experiment {settings.name!r}: evaluation_mode is {settings.evaluation_mode}, and no corpus to test on "
            f"can be reached: give one by --corpus NAME=PATH, or choose evaluation_mode loso. The first: {first}"
        ) from first
    return found, notes


def _candidates(settings: Settings) -> list[str]:
    trained = set(settings.training_corpora)
    named = [name for name in {**settings.corpora, **settings.corpus} if name not in trained]
    if named:
        return named
    of_the_hub = [name for name, spec in BUILTIN.items() if spec.hub_id is not None]
    if not trained <= set(of_the_hub):
        raise InputError(
            f"experiment {settings.name!r}: evaluation_mode is {settings.evaluation_mode}, and the recipe names no "
            "corpus but those trained on: name others in test_datasets, which corpora or --corpus NAME=PATH describe, "
            "or choose evaluation_mode loso"
        )
    return [name for name in of_the_hub if name not in trained]


__all__ = ["tested_corpora"]
