"""The demo's page: record or upload, type or transcribe, see the emotion. Needs gradio and transformers alone: a Space
has this file and its neighbours, not the package; the model brings its own code."""

import argparse
import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

from . import markup as demo_html
from .timeline import Timeline
from .timeline import emotion_over_time
from .timeline import frames_of
from .timeline import holds_encoder

logger = logging.getLogger(__name__)

SETTINGS_FILE = "demo.json"
"""Beside a Space's app.py: the options, by name."""
LONGEST = 300.0
"""Seconds of a recording that the page takes."""
LONGEST_TEXT = 5000
"""Characters of words that the page takes; models read some hundreds."""
KEPT = 600
"""Seconds after which an uploaded recording is deleted."""

_PORT = 7860
_EMPTY = "[EMPTY]"  # what stands for missing words; typed, it is none
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_PAGE_CSS = """
.gradio-container .html-container { padding: 0; }
@media (min-width: 800px) { #bars { padding-left: 1rem; } }
.emomm-page :focus-visible, .gradio-container :focus-visible { outline: 3px solid var(--emomm-focus) !important;
  outline-offset: 2px; }
#recording { --neutral-400: var(--neutral-600); } .dark #recording { --neutral-400: var(--neutral-300); }
:root { --emomm-focus: #4338ca; } .dark { --emomm-focus: #c7d2fe; }
"""
# In the text box, Enter presses the button by itself.
_CONTROL_ENTER = """() => document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest("#words"))
    document.querySelector("#go").click();
})"""
_ABOUT = """
<p>It guesses the emotion that a recording and its words <em>sound like</em>, which need not be what the person feels;
it is often wrong. For research and trying out: <strong>take no decision about a person by it.</strong> In the EU,
inferring emotions at work and in education is prohibited, medical and safety reasons aside (AI Act, Regulation (EU)
2024/1689, art. 5(1)(f)).</p>
<p>Nothing is kept: an uploaded recording is deleted within {minutes} minutes, and when the demo
stops; words and results are not stored.</p>
"""


@dataclass(frozen=True)
class Options:
    """What the demo is started with.

    Args:
        model: folder or Hub id.
        voice_model: of a model that listens alone, to be shown beside it.
        words_model: of a model that reads alone, to be shown beside it.
        speech_encoder: folder or Hub id of the encoder that made the models' features, in place of the one they name.
        transcribe: folder or Hub id of a speech recognition model, for recordings without typed words.
    """

    model: str
    voice_model: str | None = None
    words_model: str | None = None
    speech_encoder: str | None = None
    transcribe: str | None = None


@dataclass(frozen=True)
class Models:
    """The pipelines of the demo: `main`, and those shown beside it."""

    options: Options
    main: Any
    voice: Any = None
    words: Any = None

    @property
    def modality(self) -> str:
        """What the main model takes: `audio`, `text` or `both`."""
        return self.main.processor.modality

    @property
    def hears(self) -> bool:
        """Whether a recording is of use."""
        return self.modality != "text" or self.voice is not None or self.options.transcribe is not None

    @property
    def reads(self) -> bool:
        """Whether words are of use."""
        return self.modality != "audio" or self.words is not None


@dataclass(frozen=True)
class Answer:
    """What there is to show for an utterance.

    Args:
        columns: titles with results of the pipeline, or with the reason why there is none; the main model's first,
            whose label is None where nothing was heard or read.
        timeline: or the reason why there is none.
        notes: about the recording and the words.
    """

    columns: tuple[tuple[str, Mapping[str, Any] | str], ...]
    timeline: Timeline | str
    notes: tuple[str, ...]


def load(options: Options) -> Models:
    """Loads the models. Raises ValueError or OSError where one can't be, or is of the wrong kind."""
    from transformers import pipeline

    def loaded(name: str | None) -> Any:
        # The model's own code is run: it is what the demo was started for.
        return name and pipeline("multimodal-emotion-recognition", model=name, trust_remote_code=True)

    models = Models(options, loaded(options.model), loaded(options.voice_model), loaded(options.words_model))
    if str(models.modality) not in _TITLES:
        raise ValueError(f"{options.model} takes {models.modality}; the page shows models of voice, words or both")
    beside = (models.voice, "audio", options.voice_model), (models.words, "text", options.words_model)
    for pipe, modality, name in beside:
        if pipe is not None and pipe.processor.modality != modality:
            raise ValueError(f"{name} is a model of modality {pipe.processor.modality!r}; it must be {modality!r}")
    return models


def recognise(models: Models, recording: Any, words: str | None) -> Answer:
    """Asks the models.

    Args:
        recording: what `read_waveform` takes, or None.
        words: typed ones; None or "" to have them transcribed, where the demo was started with a recogniser.

    Raises:
        ValueError: a recording or encoder that can't be used, or nothing to go by; the message is for the user.
    """
    main, words = models.main, (words or "").strip() or None
    words = None if words == _EMPTY else words
    _check_given(models, recording, words)
    waveform = features = whole = None
    if recording is not None and models.hears:
        waveform = _code_of(main, "waveforms").read_waveform(recording, longest=LONGEST)
        if models.modality != "text":
            encoder = main.processor.load_speech_encoder(models.options.speech_encoder, main.device)
            features, whole = frames_of(main, encoder, waveform.samples)
    row = {"audio": waveform, "audio_features": whole, "text": words}
    options = {"transcribe": models.options.transcribe} if models.options.transcribe else {}
    result = main({name: value for name, value in row.items() if value is not None}, **options)
    columns = [(_TITLES[models.modality], result)]
    said = result.get("heard") is not False  # models from before don't say
    if models.modality == "both" or models.voice is not None:
        columns.append(("Voice only", _voice_only(models, waveform, whole) if said else _NOTHING))
    if models.modality == "both" or models.words is not None:
        columns.append(("Words only", _words_only(models, result["transcript"] or words)))
    notes = dict.fromkeys([*(waveform.notes if waveform is not None else ()), *result["notes"]])
    timeline = _over_time(models, waveform, features, result["transcript"]) if said else _NOTHING
    return Answer(tuple(columns), timeline, tuple(notes))


_NOTHING = "Nothing was heard in the recording."
_ONE_ONLY = "This model can't be asked with {} alone: its fusion needs both, and no second model was given."
_TITLES = {"both": "Voice and words", "audio": "Voice", "text": "Words"}


def _check_given(models: Models, recording: Any, words: str | None) -> None:
    """Raises ValueError, in the page's terms, where the main model lacks what it needs, or the words are too many."""
    if words is not None and len(words) > LONGEST_TEXT:
        raise ValueError(
            f"The words are {len(words)} characters long; this page takes {LONGEST_TEXT}: give one utterance."
        )
    needs_voice = models.modality == "audio" or (models.modality == "both" and not models.main.processor.allow_missing)
    if needs_voice and recording is None:
        raise ValueError("There is no recording, and this model needs one: record or upload it.")
    if words is None and (recording is None or (models.modality == "text" and not models.options.transcribe)):
        raise ValueError(
            "There are no words: type what is said." if not models.hears else "There is nothing to go by."
        )


def _code_of(pipe: Any, module: str) -> Any:
    """A module of the code that came with the model: the package's, or transformers' copy of it."""
    return importlib.import_module(f"{type(pipe).__module__.rpartition('.')[0]}.{module}")


def _voice_only(models: Models, waveform: Any, features: Any) -> Mapping[str, Any] | str:
    pipe = models.voice
    if pipe is None and not models.main.processor.allow_missing:
        return _ONE_ONLY.format("the voice")
    if waveform is None:
        return "There is no recording."
    # An encoder of a model's own may be tuned, and then hears something else.
    own = pipe is not None and (holds_encoder(pipe) or holds_encoder(models.main))
    alike = pipe is None or pipe.processor.speech_features == models.main.processor.speech_features
    if features is not None and alike and not own:
        return (pipe or models.main)({"audio_features": features})
    # `speech_encoder` is the main model's, where that one listens.
    encoder = models.options.speech_encoder if models.modality == "text" else None
    plain = {"array": waveform.samples, "sampling_rate": waveform.sampling_rate}  # each model's code has its own class
    return (pipe or models.main)({"audio": plain}, **({"speech_encoder": encoder} if encoder else {}))


def _words_only(models: Models, words: str | None) -> Mapping[str, Any] | str:
    pipe = models.words
    if pipe is None and not models.main.processor.allow_missing:
        return _ONE_ONLY.format("the words")
    return (pipe or models.main)({"text": words}) if words else "There are no words."


def _over_time(models: Models, waveform: Any, features: Any, transcript: str | None) -> Timeline | str:
    main = models.main
    if features is None:
        return "There is no timeline: " + ("no recording." if models.modality != "text" else "this model only reads.")
    made_by = main.processor.speech_features
    if features.ndim == 1:
        return "There is no timeline: this model reads one vector for the whole recording."
    try:
        speech = _code_of(main, "voice_activity").VoiceActivity()(waveform.samples)
    except ModuleNotFoundError:  # a model from before
        speech = None
    return emotion_over_time(main.model, main.processor, features, made_by.frame_rate, transcript, speech=speech)


# ---- the page -------------------------------------------------------------------------------------------------------


def shown(models: Models, recording: str | None, words: str | None) -> tuple[str, str]:
    """The two parts of the page that hold the answer, as HTML: the bars, and what they come from."""
    try:
        answer = recognise(models, recording, words)
    except (ValueError, OSError) as error:
        return demo_html.error(_for_user(error, recording, models.options)), ""
    result = answer.columns[0][1]
    parts = [demo_html.words(result)]
    if models.hears:
        parts.append(demo_html.over_time(answer.timeline, result["moments"], result["weights_by"]))
    return demo_html.side_by_side(answer.columns, answer.notes), f'<div class="emomm">{"".join(parts)}</div>'


def _for_user(error: Exception, recording: str | None, options: Options) -> str:
    """The message, without places on this machine and without the number of the only input."""
    if recording and not Path(recording).is_file():
        return f"The recording is gone (uploads are deleted after {KEPT // 60} minutes): add it again."
    message = re.sub(r"^(input|utterance) 0:? ", "", str(error))
    for name in filter(None, vars(options).values()):
        message = message.replace(name, public_name(name)) if os.path.isdir(name) else message
    return message.replace(str(recording), Path(recording).name) if recording else message


def build(models: Models, kept: int = KEPT) -> Any:
    """The page, a `gradio.Blocks`; to be launched with `launch_options()`.

    Args:
        kept: seconds after which an uploaded recording is deleted.
    """
    import gradio as gr

    name = public_name(models.options.model)
    with gr.Blocks(title=f"EmoMM: {name}", analytics_enabled=False, delete_cache=(max(kept // 10, 1), kept)) as page:
        gr.HTML(_head(models, name))
        recording = gr.Audio(visible=False)
        words = gr.Textbox(visible=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                if models.hears:
                    recording = gr.Audio(
                        sources=["upload", "microphone"],
                        type="filepath",
                        label="Recording (WAV, FLAC, OGG or MP3)",
                        elem_id="recording",
                        buttons=[],
                        waveform_options=gr.WaveformOptions(sample_rate=16000),
                    )
                if models.reads:
                    words = gr.Textbox(
                        label="Words",
                        info=_words_info(models),
                        lines=1,  # Enter presses the button; Shift+Enter begins a line
                        max_lines=6,
                        max_length=LONGEST_TEXT,
                        elem_id="words",
                    )
                button = gr.Button("Recognise the emotion", variant="primary", elem_id="go")
            with gr.Column(scale=3, min_width=300):
                bars = gr.HTML(demo_html.waiting(_waiting(models)), elem_id="bars")
        details = gr.HTML("", elem_id="details")
        gr.HTML(f'<div class="emomm quiet"><h2>What it is not for</h2>{_ABOUT.format(minutes=KEPT // 60 + 1)}</div>')
        gr.on(
            [button.click, words.submit],
            lambda audio, text: shown(models, audio, text),
            [recording, words],
            [bars, details],
            api_name="recognise",
            show_progress="minimal",
        )
    return page


def _head(models: Models, name: str) -> str:
    takes = {"both": "a voice and its words", "audio": "a voice", "text": "words"}[models.modality]
    labels = ", ".join(escape(label) for label in models.main.model.config.id2label.values())
    made_by = models.main.processor.speech_features
    by = f" It hears through {escape(made_by.in_words())}." if made_by else ""
    return (
        f'<div class="emomm"><h1>Emotion from {takes}</h1><p class="quiet">Model: '
        f"{escape(name)}. It knows: {labels}.{by}</p></div>"
    )


def _words_info(models: Models) -> str:
    if models.options.transcribe:
        return f"What is said. Empty: heard by {public_name(models.options.transcribe)}."
    return "What is said, as text."


def _waiting(models: Models) -> str:
    steps = (["record or upload a voice"] if models.hears else []) + (["type the words"] if models.reads else [])
    text = " and ".join(steps)
    return f"The result will stand here: {text}, then press the button or Enter."


def public_name(name: str) -> str:
    """A Hub id as it is; of a folder its own name alone, and of a job's `model` the run's too."""
    if not os.path.isdir(name):
        return name
    path = Path(name).resolve()
    of_run = path.name == "model" and (path.parent / "run.json").is_file()
    return "/".join(path.parts[-4:]) if of_run else path.name


def launch_options() -> dict[str, Any]:
    """Arguments of `Blocks.launch`: nothing from other servers, nothing kept in the browser, no public tunnel."""
    import gradio as gr

    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="gray", font=_FONT, font_mono=["ui-monospace"]).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
    )
    return {
        "theme": theme,
        "css": demo_html.CSS + _PAGE_CSS,
        "js": _CONTROL_ENTER,
        "footer_links": [],
        "run_history": False,
        "share": False,
        "ssr_mode": False,
        "max_file_size": "50mb",
    }


# ---- the command ----------------------------------------------------------------------------------------------------


def options_from(
    argv: Sequence[str] | None, beside: Path, environment: Mapping[str, str]
) -> tuple[Options, int | None]:
    """The options and the port: from the command line, else EMOMM_<OPTION>, else `demo.json` in the folder `beside`.

    Raises:
        ValueError: no model is named, or `demo.json` can't be read.
    """
    parser = argparse.ArgumentParser(
        prog="app.py", description="Try a model in the browser. The code that comes with the models is run."
    )
    helps = {
        "model": "the model: folder or Hub id",
        "voice_model": "a model of the voice alone, to be shown beside it",
        "words_model": "a model of the words alone, to be shown beside it",
        "speech_encoder": "where to take the models' speech encoder from; default: the one that they name",
        "transcribe": "a speech recognition model, for recordings without typed words",
    }
    for field in fields(Options):
        parser.add_argument(f"--{field.name}", metavar="FOLDER_OR_ID", help=helps[field.name])
    parser.add_argument("--port", type=int, help=f"default: the first free one from {_PORT}")
    given = vars(parser.parse_args(argv))
    port = given.pop("port")
    settings = {}
    if (file := beside / SETTINGS_FILE).is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
    chosen = {name: given[name] or environment.get(f"EMOMM_{name.upper()}") or settings.get(name) for name in given}
    if not chosen["model"]:
        raise ValueError("no model is named: --model FOLDER_OR_ID, or EMOMM_MODEL in the environment")
    return Options(**chosen), port


def _reach(names: Iterable[str | None], reach_hub: Callable[[str], None] | None) -> None:
    for name in names:
        if name and reach_hub is not None and not os.path.isdir(name):
            reach_hub(name)


def main(argv: Sequence[str] | None = None, reach_hub: Callable[[str], None] | None = None) -> int:
    """Starts the demo and serves until it is stopped; 2 where it can't start, with the reason on stderr.

    `reach_hub` is called with the name of what is about to be taken from the Hub."""
    logging.basicConfig(format="%(message)s")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import gradio  # noqa: F401 rather than when all models are loaded

        options, port = options_from(argv, Path(__file__).resolve().parent.parent, os.environ)
        _reach(vars(options).values(), reach_hub)
        models = load(options)
    except ModuleNotFoundError as error:
        print(f"error: {error}: pip install gradio", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 whatever foreign models and their code raise
        print(f"error: {type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr)
        return 2
    if models.modality != "text":
        made_by = models.main.processor.speech_features
        there = made_by is None or options.speech_encoder or holds_encoder(models.main)
        try:  # now rather than at the first question
            _reach([None if there else made_by.encoder], reach_hub)
            models.main.processor.load_speech_encoder(options.speech_encoder, models.main.device)
        except (ValueError, OSError) as error:
            logger.warning("recordings can't be read: %s", error)
    try:
        build(models).launch(server_port=port, **launch_options())
    except (OSError, OverflowError) as error:
        print(f"error: the page can't be served on port {port} ({error}); give another --port", file=sys.stderr)
        return 2
    return 0


__all__ = ["KEPT", "LONGEST", "Answer", "Models", "Options", "build", "launch_options", "load", "main", "recognise"]
