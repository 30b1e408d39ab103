"""A corpus, or recordings, predicted in batches with an exported model."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from tqdm import tqdm
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from ..checksums import ChangedFiles
from ..checksums import refuse_changed_model
from ..checksums import refuse_changed_processor
from ..configuration_emomm import EmoMMConfig
from ..corpora.corpus import Corpus
from ..data_collator import EmoMMDataCollator
from ..errors import InputError
from ..evaluation.window_means import window_means
from ..hub_access import reach_hub
from ..interruption import heed
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import Modality
from ..modalities import get_modality
from ..modalities import names_in
from ..modalities import register_modality
from ..modeling_emomm import EmoMMForEmotionClassification
from ..own_files import code_of_models
from ..pipeline_emomm import EmoMMPipeline
from ..processing_emomm import EmoMMProcessor
from .corpus_rows import Asked
from .corpus_rows import heard
from .corpus_rows import rows_for
from .corpus_rows import write_rows
from .shown_results import prepare_output
from .shown_results import why

logger = logging.getLogger(__name__)


def predict(
    model: str,
    corpus: str,
    output: str | Path,
    paths: dict[str, str] | None = None,
    batch_size: int = 64,
    trust_remote_code: bool = False,
) -> int:
    """Predicts every row of a corpus and writes a parquet file.

    Its columns: utterance_id, corpus, speaker, session, label (as the corpus has it), prediction, probabilities (one
    for each of the model's classes, whose names are in the file's metadata under `labels`).

    Args:
        model: folder of an exported model, or its id on the Hub.
        corpus: a built-in name, or a name that `paths` gives a place; or a path of data in the schema.
        output: the file to write.
        paths: local copies of corpora by name.
        batch_size: rows at a time.
        trust_remote_code: run the code that comes with the model; needed for a fusion or modality of its author's own.

    Returns the number of rows. Raises InputError for a model or corpus that can't be read or don't fit each other.
    """
    prepare_output(output)
    loaded, processor = load_model(model, trust_remote_code)
    own = [modality for modality in names_in(loaded.config.modality) if modality not in (AUDIO.name, TEXT.name)]
    for modality in loaded.modalities if own else ():  # those of its own code are not known here
        if modality.name in own:
            register_modality(Modality(**dataclasses.asdict(modality)))
    asked = _asked(loaded, processor, model)
    rows = rows_for(asked, corpus, paths or {}, own)
    probabilities, vad = _predictions(loaded, processor, rows, batch_size)
    write_rows(output, rows, asked.labels, probabilities, vad)
    return len(rows)


def _asked(model: EmoMMForEmotionClassification, processor: EmoMMProcessor, name: str) -> Asked:
    config = model.config
    held = processor.hears and getattr(processor, "feature_extractor", None) is not None
    return Asked(
        name=name,
        labels=[config.id2label[i] for i in range(config.num_labels)],
        modalities=names_in(config.modality),
        widths={"audio": config.audio_dim, **(config.modality_dims or {})},
        allow_missing=processor.allow_missing,
        speech_encoder=config.speech_encoder,
        audio_encoder=config.audio_encoder,
        encoder=processor.load_speech_encoder() if held else None,
    )


def predict_recordings(
    model: str,
    recordings: Sequence[str],
    texts: Sequence[str | None] | None = None,
    transcribe: str | None = None,
    speech_encoder: str | None = None,
    batch_size: int = 8,
    trust_remote_code: bool = False,
    any_sound: bool = False,
) -> list[dict[str, Any]]:
    """Predicts recordings: what `EmoMMPipeline` gives for each, with `recording`, its path or URL, before it.

    Of one that can't be used, its `error` says why.

    Args:
        model: folder of an exported model, or its id on the Hub.
        recordings: paths and URLs.
        texts: the words of each, where they are known.
        transcribe: folder or id of a speech recognition model that fills in missing words.
        speech_encoder: folder or id of the encoder that made the model's features, in place of the one it names.
        batch_size: recordings at a time.
        trust_remote_code: run the code that comes with the model, and with those encoders.
        any_sound: take all but silence for speech, and label it.

    Raises InputError for a model that can't be read, for another encoder than the model's, and where no recording can
    be used.
    """
    loaded, processor = load_model(model, trust_remote_code)
    reach_speech_models(processor, speech_encoder, transcribe)
    try:
        emotion = EmoMMPipeline(
            model=loaded,
            processor=processor,
            device=loaded.device,
            speech_encoder=speech_encoder,
            transcribe=transcribe,
            trust_remote_code=trust_remote_code,
            any_sound=any_sound,
        )
        words = texts or [None] * len(recordings)
        rows = ({"audio": each, "text": text} for each, text in zip(recordings, words, strict=True))
        results = emotion(rows, batch_size=batch_size)
        results = list(tqdm(results, total=len(recordings), desc="listening", unit="recording", disable=None))
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error
    heed()  # a decoder may have taken a signal for damage
    results = [{"recording": name, **result} for name, result in zip(recordings, results, strict=True)]
    if all(result["error"] is not None for result in results):
        raise InputError("; ".join(map(why, results)))
    return results


def load_model(model: str, trust_remote_code: bool) -> tuple[EmoMMForEmotionClassification, EmoMMProcessor]:
    """The model in evaluation mode, and its processor; by this package's code unless the model's own is trusted.

    Raises InputError where it can't be loaded, or its folder holds other files than were written there.
    """
    _check_is_there(model)
    try:
        refuse_changed_model(model)
        refuse_changed_processor(model)
        model_class, processor_class = EmoMMForEmotionClassification, EmoMMProcessor
        if trust_remote_code:  # asked for by name: the auto classes prefer the installed package's
            with code_of_models():
                model_class = get_class_from_dynamic_module("modeling_emomm.EmoMMForEmotionClassification", model)
                processor_class = get_class_from_dynamic_module("processing_emomm.EmoMMProcessor", model)
        kind = EmoMMConfig.get_config_dict(model)[0].get("model_type")
        if kind != "emomm":
            raise InputError(f"model {model!r} is no EmoMM model; its configuration says {kind!r}")
        loaded, said = model_class.from_pretrained(model, output_loading_info=True)
        processor = processor_class.from_pretrained(model)
        if hasattr(processor, "use_held_encoder"):  # code of before has none
            processor.use_held_encoder(loaded)
    except (ChangedFiles, InputError) as error:
        raise InputError(str(error)) from error
    except StrictDataclassError as error:
        raise InputError(f"model {model!r}: config.json: {error.__cause__ or error}") from error
    except Exception as error:  # noqa: BLE001 whatever foreign files and their code raise
        logger.debug("loading %s", model, exc_info=True)
        if "ignore_mismatched_sizes" in str(error):  # what transformers says then is for who calls it
            raise InputError(
                f"model {model!r}: its weights have other shapes than its config.json says (the report above names "
                "them); take both from one export"
            ) from error
        raise InputError(f"model {model!r} could not be loaded: {_in_a_line(error)}") from error
    missing = sorted(said["missing_keys"])
    if missing:  # transformers would make random ones
        raise InputError(f"model {model!r} lacks {len(missing)} of its weights, such as {missing[0]}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return loaded.eval().to(device), processor


def _check_is_there(model: str) -> None:
    """Raises InputError for what can be neither a folder with a model nor an id on the Hub."""
    if os.path.isdir(model):
        if not os.path.isfile(os.path.join(model, "config.json")):
            raise InputError(
                f"model {model!r} is a folder without config.json; name that of an exported model, such as "
                "runs/<recipe>/<experiment>/seed-<seed>/<fold>/model"
            )
        return
    try:
        validate_repo_id(model)
    except HFValidationError:
        raise InputError(f"model {model!r} is no folder, and can't be an id on the Hub (user/name)") from None
    reach_hub(model)


def reach_speech_models(processor: EmoMMProcessor, speech_encoder: str | None, transcribe: str | None = None) -> None:
    """Asks the Hub once, where the encoder of the voice or the speech recognition model is to come from there.

    Args:
        processor: of the model, which may name its encoder.
        speech_encoder: folder or id of it; None: the one that the processor names.
        transcribe: folder or id of the other, if any.
    """
    held = getattr(processor, "feature_extractor", None) is not None  # the model brings its encoder
    named = speech_encoder or (None if held else (processor.speech_encoder or {}).get("encoder"))
    for name in (named if AUDIO.name in names_in(processor.modality) else None, transcribe):
        if name and not os.path.isdir(name):
            reach_hub(name)


def _in_a_line(error: Exception) -> str:
    """An error of other libraries, which may be as long as a traceback."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]}…"
    return text if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: {text}"


@torch.no_grad()
def _predictions(
    model: EmoMMForEmotionClassification, processor: EmoMMProcessor, corpus: Corpus, batch_size: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities (rows, classes), and V/A/D (rows, 3) of a model that gives it; float32.

    Rows go through in the order of their length, so that little is padded. Of recordings that the model hears in
    windows, the logits are averaged.
    """
    encoder = None if corpus.recordings is None else processor.load_speech_encoder()
    tokens = processor.tokenize(corpus.transcripts) if model.config.uses_text else None
    collate = EmoMMDataCollator(
        0 if processor.tokenizer is None else processor.tokenizer.pad_token_id, processor.allow_missing
    )
    vectors = {name: corpus.vectors(name) for name in names_in(model.config.modality) if name != TEXT.name}
    lengths = np.array([len(row) for row in tokens]) if tokens is not None else next(iter(vectors.values())).length
    order = np.argsort(lengths, kind="stable")
    probabilities = np.empty((len(corpus), model.config.num_labels), dtype=np.float32)
    vad = np.empty((len(corpus), 3), dtype=np.float32) if model.config.gives_vad else None
    for start in tqdm(range(0, len(order), batch_size), desc="predicting", unit="batch", disable=None):
        rows = order[start : start + batch_size]
        voices = [[None]] * len(rows) if encoder is None else heard(encoder, vectors[AUDIO.name], rows)
        window_of = torch.tensor([place for place, windows in enumerate(voices) for _ in windows])
        features = [
            {
                **{get_modality(name).features: of_rows[i] for name, of_rows in vectors.items()},
                **({} if encoder is None else {AUDIO.features: window}),
                **({"input_ids": tokens[i]} if tokens is not None else {}),
            }
            for i, windows in zip(rows, voices, strict=True)
            for window in windows
        ]
        batch = {name: value.to(model.device) for name, value in collate(features).items()}
        outputs = model(**batch)
        probabilities[rows] = window_means(outputs.logits.float(), window_of).softmax(dim=-1).cpu().numpy()
        if vad is not None:
            vad[rows] = window_means(outputs.vad, window_of).cpu().numpy()
    return probabilities, vad


__all__ = ["load_model", "predict", "predict_recordings"]
