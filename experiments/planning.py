"""What an experiment reads, and its folds: the corpora of its settings loaded, and the protocol asked."""

from collections.abc import Mapping

from ..corpora.builtin import resolve_specs
from ..corpora.corpus import Corpus
from ..corpora.loading import load_corpus
from ..corpora.places import NotThere
from ..corpora.spec import CorpusSpec
from ..errors import InputError
from ..errors import nearest
from ..evaluation.folds import Fold
from ..evaluation.folds import plan_folds
from ..evaluation.protocols import ProtocolOptions
from ..modalities import AUDIO
from ..modalities import TEXT
from ..recordings.recorded_corpus import load_recorded_corpus
from ..settings.settings import Settings
from .data import ExperimentData
from .manifests import read_manifest
from .own_fusion import load_modalities
from .own_modules import load_own_modules
from .tested_corpora import tested_corpora

Loaded = dict[str, Corpus | NotThere]
"""Corpora by name and spec, or why they can't be had."""


def load_data(settings: Settings, loaded: Loaded) -> ExperimentData:
    """The corpora of an experiment. Raises InputError for wrong ones.

    Args:
        loaded: what experiments before have read, used and added to.
    """
    load_own_modules(settings)
    load_modalities(settings)  # which the corpora's columns name
    specs = resolve_specs(settings.corpora, settings.corpus)

    def corpus(name: str, setting: str) -> Corpus:
        return loaded_corpus(settings, specs, name, setting, loaded)

    train = [corpus(name, "train_dataset") for name in settings.training_corpora]
    test, notes = tested_corpora(settings, specs, lambda name: corpus(name, "test_datasets"))
    data = ExperimentData(settings, train, test)
    data.notes += notes
    return data


def loaded_corpus(
    settings: Settings, specs: Mapping[str, CorpusSpec], name: str, setting: str, loaded: Loaded
) -> Corpus:
    """A corpus that `setting` names, with the voice that the experiment reads. Raises InputError where there is none.

    Args:
        loaded: as in `load_data`.
    """
    if name not in specs:
        raise InputError(
            f"experiment {settings.name!r}: {setting} holds {name!r}, which is no corpus.{nearest(name, specs)} "
            f"Known are {', '.join(sorted(specs))}, and a recipe can bring its own in corpora"
        )
    own = [modality.name for modality in load_modalities(settings) if modality not in (AUDIO, TEXT)]
    key = f"{name} {specs[name]!r} {own} {settings.voice_input} {settings.recording_dtype}"
    if key not in loaded:
        try:
            loaded[key] = _load(settings, specs[name], own)
        except NotThere as error:  # not looked for again by the next experiment
            loaded[key] = error
    if isinstance(loaded[key], NotThere):
        raise loaded[key]
    return loaded[key]


def _load(settings: Settings, spec: CorpusSpec, own: list[str]) -> Corpus:
    if settings.voice_input == "recording":
        return load_recorded_corpus(spec, own, settings.store_dir, settings.recording_dtype)
    return load_corpus(spec, modalities=own, store_dir=settings.store_dir)


def folds_by_seed(data: ExperimentData) -> dict[int, list[Fold]]:
    """The folds of each seed of an experiment. Raises InputError as `plan_folds` does."""
    settings = data.settings
    options = ProtocolOptions(
        settings.folds,
        settings.fold_seed,
        read_manifest(settings.manifest) if settings.evaluation_mode == "manifest" else (),
        settings.disjoint_by,
        settings.allow_overlap,
    )
    return {
        seed: plan_folds(
            data.tables(data.train),
            data.tables(data.test),
            settings.evaluation_mode,
            settings.validation,
            settings.validation_fraction,
            seed,
            settings.protocol_module,
            options,
        )
        for seed in settings.seeds
    }


__all__ = ["Loaded", "folds_by_seed", "load_data", "loaded_corpus"]
