"""Emotion as it is spoken: a window slides over the sound, and each hop of it gives a result.

```python
for result in recognize("talk.wav", "runs/voice/final"):
    print(result.start, result.end, result.label, result.smoothed)

recognizer = LiveRecognizer(model, processor)          # or push the sound yourself: 16 kHz, mono, float32
for result in recognizer.feed(samples):
    ...
```

A hop of silence gives no result and ends what was being said: the next window begins with the next hop of speech, and
grows until it is full; so does the smoothing. What of a window is computed anew: see `streaming`.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from statistics import median
from typing import Any
from typing import BinaryIO

import numpy as np
import torch

from ..data_collator import EmoMMDataCollator
from ..errors import InputError
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import is_missing
from ..modalities import names_in
from ..modeling_emomm import EmoMMForEmotionClassification
from ..processing_emomm import EmoMMProcessor
from ..speech_encoders import SpeechEncoder
from ..voice_activity import Vad
from ..voice_activity import VoiceActivity
from ..waveforms import SAMPLING_RATE
from ..waveforms import SHORTEST
from ..waveforms import is_silent
from .predicting import load_model
from .predicting import reach_speech_models
from .sliding_window import WindowEncoder
from .sound_sources import Arrivals
from .sound_sources import Pcm
from .sound_sources import open_source
from .sound_sources import without_bad

logger = logging.getLogger(__name__)

WINDOW = 3.0
"""Seconds that a result is about."""
HOP = 0.5
"""Seconds from one result to the next."""
SMOOTHING = 0.6
"""Share of the smoothed probabilities that a hop keeps."""
LEAST_SPEECH = 0.2
"""Share of a hop's frames with speech below which it is silent."""

_LONGEST = 30.0  # seconds of a window
_HEADROOM = 1.2  # of a hop that can be kept, over the median time of one
_SAY_AGAIN = 10.0  # seconds between two messages about being behind
_TRIALS = 3


@dataclass(frozen=True)
class LiveResult:
    """What one hop gave.

    Args:
        start: second of the stream at which the window begins.
        end: second at which it ends.
        label: the likeliest class, smoothed; None where the hop was silent.
        scores: probability of each class in this window alone; empty where silent.
        smoothed: exponentially smoothed over the hops of the utterance.
        speech: share of the hop's frames with speech.
        seconds: that it took to compute.
        late: whether that was longer than the hop, or hops before it were left out to catch up.
    """

    start: float
    end: float
    label: str | None
    scores: dict[str, float] = field(default_factory=dict)
    smoothed: dict[str, float] = field(default_factory=dict)
    speech: float = 0.0
    seconds: float = 0.0
    late: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded, for JSON lines."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "silence": self.label is None,
            "label": self.label,
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
            "smoothed": {label: round(score, 6) for label, score in self.smoothed.items()},
            "speech": round(self.speech, 3),
            "seconds": round(self.seconds, 4),
            "late": self.late,
        }

    def readable(self) -> str:
        """A line for people."""
        times = f"{self.start:8.2f} -{self.end:8.2f} s"
        if self.label is None:
            return f"{times}  (silence)"
        width, share = max(map(len, self.smoothed)), self.smoothed[self.label]
        late = "  late" if self.late else ""
        return f"{times}  {self.label:{width}} {share:6.1%}  {'#' * round(30 * share):30}{late}".rstrip()


class LiveRecognizer:
    """The emotion of a stream of sound, hop by hop.

    Args:
        model: that hears; in evaluation mode from here on.
        processor: the model's.
        encoder: that made the model's features; default the one that the processor loads.
        window: seconds that a result is about, once so many were spoken.
        hop: seconds from one result to the next.
        smoothing: share of the smoothed probabilities that a hop keeps, 0 to below 1:
            smoothed = smoothing · smoothed + (1 - smoothing) · scores, from the first hop's scores.
        text: what is said, for a model that reads words too; None: they are read as missing.
        vad: what counts as speech; None: everything but silence.
        silence: give results of silent hops too, without a label.
        exact: encode each window whole, as a recording of its own, where parts of the last one would do.
        clock: in seconds, to measure with.

    Attributes:
        skipped: hops that were left out to catch up.

    Raises:
        ValueError: a model that doesn't hear; a window, hop or smoothing out of range; no encoder is known, or (also
            `WrongEncoder`) it is another than the model's.
    """

    def __init__(
        self,
        model: EmoMMForEmotionClassification,
        processor: EmoMMProcessor,
        encoder: SpeechEncoder | None = None,
        window: float = WINDOW,
        hop: float = HOP,
        smoothing: float = SMOOTHING,
        text: str | None = None,
        vad: Vad | None = Vad(),  # noqa: B008 frozen
        silence: bool = False,
        exact: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ):
        names = set(names_in(processor.modality))  # of the processor, which may be one with code of before
        if AUDIO.name not in names or (names - {AUDIO.name, TEXT.name} and not processor.allow_missing):
            raise ValueError(f"this model takes {', '.join(sorted(names))}; live listens to a voice")
        if not SHORTEST <= hop <= window <= _LONGEST:
            raise ValueError(
                f"window={window:g} and hop={hop:g} seconds: it must be {SHORTEST:g} <= hop <= window <= {_LONGEST:g}"
            )
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing:g}; it must be at least 0 and below 1")
        if hasattr(processor, "use_held_encoder"):  # code of before has none
            processor.use_held_encoder(model)
        if encoder is None:
            encoder = processor.load_speech_encoder()
        elif processor.speech_features is not None:
            processor.speech_features.refuse_other(encoder.features)
        if encoder.frames_of(round(SHORTEST * SAMPLING_RATE)) < 1:
            raise ValueError(
                f"{encoder.features.encoder} makes no frame of {SHORTEST:g} s, the shortest that live says anything of"
            )
        longest = getattr(model.config, "window_seconds", None)  # of a model that holds its encoder
        if longest is not None and max(longest, hop) < window:
            window = max(longest, hop)
            logger.info("the model hears %g s at once, as where it was evaluated: so long is a window", longest)
        self.model = model.eval()
        self.encoder = WindowEncoder(encoder, exact)
        self.smoothing, self.silence = smoothing, silence
        self.skipped = 0
        self._processor = processor
        self._labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
        self._words = self._read(text)
        self._clock = clock
        self._window = round(window * SAMPLING_RATE)
        self.hop = hop
        self._vad = None if vad is None else VoiceActivity(vad)
        self._sound = np.zeros(0, np.float32)  # the last of the stream, from _first on
        self._first = self._done = 0  # samples of the stream: before _sound; of whole hops
        self._utterance: int | None = None  # the sample that what is being said began with
        self._smoothed: np.ndarray | None = None
        self._bad = 0

    @property
    def window(self) -> float:
        """Seconds that a result is about."""
        return self._window / SAMPLING_RATE

    @property
    def hop(self) -> float:
        """Seconds from one result to the next; to be changed before anything was heard."""
        return self._hop / SAMPLING_RATE

    @hop.setter
    def hop(self, seconds: float) -> None:
        self._hop = round(seconds * SAMPLING_RATE)
        self._window = max(self._window, self._hop)

    def feed(self, samples: np.ndarray, newest: bool = False) -> list[LiveResult]:
        """Hears more of the stream; the results of the hops that are whole now.

        Args:
            samples: (n,) of any length, mono, at 16 kHz, full scale at 1; NaN and infinite ones are silence.
            newest: of several whole hops compute the last alone.
        """
        return list(self.results(samples, newest))

    def results(self, samples: np.ndarray, newest: bool = False) -> Iterator[LiveResult]:
        """As `feed`, one by one; all are to be taken before more is heard. Raises ValueError for another shape."""
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"samples have shape {samples.shape}; they must be (n,), mono")
        samples, bad = without_bad(samples)
        if bad and not self._bad:
            logger.warning("%d samples are NaN, infinite or far too large, and are taken as silence", bad)
        self._bad += bad
        self._sound = np.concatenate([self._sound, samples])
        whole = (self._first + len(self._sound) - self._done) // self._hop
        for left in range(whole - 1, -1, -1):
            result = self._next(self._hop, skip=newest and left > 0, late=newest and whole > 1)
            if result is not None:
                yield result

    def finish(self) -> list[LiveResult]:
        """The stream has ended: the result of what is left, where it is no shorter than 0.1 s."""
        rest = self._first + len(self._sound) - self._done
        result = self._next(rest) if rest >= SHORTEST * SAMPLING_RATE else None
        return [] if result is None else [result]

    def _next(self, length: int, skip: bool = False, late: bool = False) -> LiveResult | None:
        """The next `length` samples are heard; what they give, if anything."""
        began, speech = self._clock(), 1.0
        end = self._done + length
        new = self._sound[self._done - self._first : end - self._first]
        if self._vad is not None:
            frames = self._vad(new)
            speech = float(frames.mean()) if len(frames) else 0.0
        elif is_silent(new):
            speech = 0.0
        silent = speech < LEAST_SPEECH
        if silent:
            self._utterance = self._smoothed = None
        elif self._utterance is None:
            self._utterance = self._done
        self._done = end
        begin = end - length if silent else max(self._utterance, end - self._window)
        result = None
        if silent and self.silence:
            result = LiveResult(begin / SAMPLING_RATE, end / SAMPLING_RATE, None, speech=speech)
        elif not silent and skip:
            self.skipped += 1
        elif not silent:
            scores = self._scores(self._sound[begin - self._first : end - self._first], begin)
            result = self._result(scores, begin, end, speech, self._clock() - began, late)
        keep = max(end - self._window, self._first)
        self._sound, self._first = self._sound[keep - self._first :], keep
        return result

    def _result(
        self, scores: np.ndarray, begin: int, end: int, speech: float, seconds: float, late: bool
    ) -> LiveResult:
        if self._smoothed is None:
            self._smoothed = scores
        else:
            self._smoothed = self.smoothing * self._smoothed + (1 - self.smoothing) * scores
        return LiveResult(
            start=begin / SAMPLING_RATE,
            end=end / SAMPLING_RATE,
            label=self._labels[int(self._smoothed.argmax())],
            scores=dict(zip(self._labels, scores.tolist(), strict=True)),
            smoothed=dict(zip(self._labels, self._smoothed.tolist(), strict=True)),
            speech=speech,
            seconds=seconds,
            late=late or seconds > self.hop,
        )

    @torch.no_grad()
    def _read(self, text: str | None) -> dict[str, torch.Tensor]:
        """The model's inputs for the words, which are encoded once; none where they are missing and may be."""
        if TEXT.name not in names_in(self._processor.modality) or (is_missing(text) and self._processor.allow_missing):
            return {}
        pad = self._processor.tokenizer.pad_token_id
        batch = EmoMMDataCollator(pad_token_id=pad)([{"input_ids": self._processor.tokenize([text])[0]}])
        batch = {name: value.to(self.model.device) for name, value in batch.items()}
        states = self.model.encode_text(batch["input_ids"], batch["attention_mask"])
        return {"text_features": states, "text_mask": batch["attention_mask"]}

    @torch.no_grad()
    def _scores(self, samples: np.ndarray, begin: int) -> np.ndarray:
        """(classes,) the probabilities of a window."""
        features = self._processor.checked(self.encoder(samples, begin))
        inputs = torch.from_numpy(features)[None].to(self.model.device)
        return self.model(audio_features=inputs, **self._words).logits[0].float().softmax(dim=-1).cpu().numpy()

    def measure(self) -> float:
        """Seconds that a hop takes in the middle of speech: the median of three, after the first; on noise."""
        sound = np.random.default_rng(0).normal(0, 0.1, self._window + _TRIALS * self._hop).astype(np.float32)
        seconds = []
        self.encoder.forget()
        for trial in range(_TRIALS + 1):
            began, first = self._clock(), trial * self._hop
            self._scores(sound[first : first + self._window], first)
            seconds.append(self._clock() - began)
        self.encoder.forget()
        return median(seconds[1:])


def recognize(
    source: str | os.PathLike | BinaryIO,
    model: str | EmoMMForEmotionClassification,
    processor: EmoMMProcessor | None = None,
    encoder: SpeechEncoder | str | None = None,
    hop: float | str = HOP,
    pcm: Pcm | None = None,
    realtime: bool = False,
    trust_remote_code: bool = False,
    **options: Any,
) -> Iterator[LiveResult]:
    """The emotion of a source, hop by hop, as an iterator.

    Says, through `logging`, what can't be kept up with: before the first result, and while it runs.

    Args:
        source: see `sources.open_source`. A file is taken as fast as it can be; of a microphone, a live pipe, and a
            file with `realtime`, hops are left out where they come faster than they can be computed.
        model: folder of an exported model, its id on the Hub, or the model.
        processor: of a model that is given as such.
        encoder: that made the model's features, or the folder or Hub id to take it from; default as the model says.
        hop: seconds; "auto": 0.5, or more where that can't be kept.
        pcm: how raw samples are to be read.
        realtime: a file comes as slowly as it plays.
        trust_remote_code: run the code that comes with the model and the encoder.
        options: of `LiveRecognizer`.

    Raises:
        InputError: a source, model or encoder that can't be used, before the first result; a source that ends badly.
    """
    opened = open_source(source, pcm, realtime)
    if isinstance(model, str):
        model, processor = load_model(model, trust_remote_code)
    try:
        if isinstance(encoder, str) or encoder is None:
            reach_speech_models(processor, encoder)
            encoder = processor.load_speech_encoder(encoder, model.device, trust_remote_code)
        first_hop = min(HOP, options.get("window", WINDOW)) if hop == "auto" else hop
        recognizer = LiveRecognizer(model, processor, encoder, hop=first_hop, **options)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error
    if TEXT.name in names_in(processor.modality) and is_missing(options.get("text")):
        logger.info("no words are given: this model reads words too, and takes them as missing")
    _announce(recognizer, auto=hop == "auto")
    return _results(recognizer, Arrivals(opened))


def _announce(recognizer: LiveRecognizer, auto: bool) -> None:
    """Says what a hop takes, and whether that can be kept; a hop to be chosen is made long enough."""
    seconds, name = recognizer.measure(), recognizer.encoder.features.encoder
    part = "its new part alone in the convolutions" if recognizer.encoder.reuses else "all of it encoded anew"
    logger.info("%s takes %.2f s for a window of %g s, %s", name, seconds, recognizer.window, part)
    if seconds <= recognizer.hop:
        return
    kept = math.ceil(round(_HEADROOM * seconds * 10, 6)) / 10
    if kept > recognizer.window and not auto:
        logger.warning(
            "%s can't keep a hop of %g s here, nor any other with a window of %g s: a window takes it %.2f s",
            name,
            recognizer.hop,
            recognizer.window,
            seconds,
        )
        return
    logger.warning(
        "%s can't keep a hop of %g s here: a window takes it %.2f s. It can keep a hop of %g s%s",
        name,
        recognizer.hop,
        seconds,
        kept,
        ", which is taken" if auto else " (--hop auto takes that)",
    )
    if auto:
        recognizer.hop = kept


def _results(recognizer: LiveRecognizer, arrivals: Arrivals) -> Iterator[LiveResult]:
    said_at, said, heard, found = -math.inf, 0, 0, 0
    for samples in arrivals:
        heard += len(samples)
        for result in recognizer.results(samples, newest=arrivals.live):
            found += result.label is not None
            yield result
        now = time.monotonic()
        if recognizer.skipped > said and now - said_at >= _SAY_AGAIN:
            logger.warning(
                "can't keep up: %d hops of %g s left out so far, to stay with what is being said",
                recognizer.skipped,
                recognizer.hop,
            )
            said_at, said = now, recognizer.skipped
    for result in recognizer.finish():
        found += result.label is not None
        yield result
    if not heard:
        raise InputError(f"{arrivals.name} holds no samples")
    if not found and not recognizer.skipped:
        seconds = heard / SAMPLING_RATE
        short = f", less than the {SHORTEST:g} s that are needed" if seconds < SHORTEST else ""
        logger.warning("no speech was found in the %.2f s of %s%s", seconds, arrivals.name, short)


__all__ = ["HOP", "LEAST_SPEECH", "SMOOTHING", "WINDOW", "LiveRecognizer", "LiveResult", "recognize"]
