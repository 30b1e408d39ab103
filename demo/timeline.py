"""Emotion over time: the frames of the whole recording, computed once, through the head in windows. Travels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

WINDOW = 3.0
"""Seconds that each point of a timeline is made of: those around it."""
HOP = 0.5
"""Seconds from point to point."""
SPEECH = 0.25
"""Seconds of speech in a window, below which nothing is said about it."""
MOST = 600
"""Points of a timeline; of a longer recording they lie further apart."""

_FRAME = 0.02  # seconds of a frame of the voice activity detector
_ROWS = 64  # windows that go through the head at a time


@dataclass(frozen=True)
class Timeline:
    """Probabilities of the emotions over a recording.

    Args:
        labels: the emotions.
        times: (points,) seconds from the start.
        probabilities: (points, labels); what the `window` around each time gives, cut at the recording's ends. NaN
            where nothing is said in it.
        window: seconds.
        seconds: length of the recording.
    """

    labels: tuple[str, ...]
    times: np.ndarray
    probabilities: np.ndarray
    window: float
    seconds: float


def windows(count: int, frame_rate: float, window: float = WINDOW, hop: float = HOP) -> tuple[np.ndarray, np.ndarray]:
    """The points of a recording of `count` frames, and each one's frames.

    Returns (points,) seconds, and (points, 2) the first frame and the one past the last: at least one.
    """
    seconds = count / frame_rate
    hop = max(hop, seconds / MOST)
    times = np.arange(int(seconds / hop + 1e-6) + 1) * hop
    bounds = np.round((times[:, None] + np.array([-window / 2, window / 2])) * frame_rate).astype(np.int64)
    first = bounds[:, 0].clip(0, count - 1)
    last = np.maximum(bounds[:, 1].clip(0, count), first + 1)
    return times, np.stack([first, last], axis=1)


def holds_encoder(pipe: Any) -> bool:
    """Whether the model of a pipeline brings its own speech encoder."""
    return getattr(pipe.processor, "feature_extractor", None) is not None


def frames_of(pipe: Any, encoder: Any, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The features of a whole recording, and the same where the model is asked with them; None where it hears the
    recording in several windows, whose scores it averages itself."""
    heard = encoder.heard([samples])[0] if holds_encoder(pipe) else encoder([samples])
    return (heard[0], heard[0]) if len(heard) == 1 else (np.concatenate(heard), None)


@torch.inference_mode()
def emotion_over_time(
    model: Any,
    processor: Any,
    frames: np.ndarray,
    frame_rate: float,
    text: str | None = None,
    window: float = WINDOW,
    hop: float = HOP,
    speech: np.ndarray | None = None,
) -> Timeline:
    """Runs the head over windows of the recording; the words, where the model reads them, are all given to each.

    The text encoder runs once, the speech encoder not at all.

    Args:
        model: an `EmoMMForEmotionClassification` that listens to the voice, in evaluation mode.
        processor: its own.
        frames: (frames, width) of the whole recording.
        frame_rate: frames a second.
        text: the transcript.
        speech: (n,) whether somebody speaks, each 20 ms of the recording; None: all the time.

    Raises:
        ValueError: features of the whole recording, which have no time.
    """
    if frames.ndim != 2 or not frame_rate > 0:
        raise ValueError("this model reads one vector for the whole recording, so nothing can be said over time")
    times, bounds = windows(len(frames), frame_rate, window, hop)
    words = _words(model, processor, frames, text) if model.config.modality == "both" else {}
    rows = []
    for start in range(0, len(bounds), _ROWS):
        cut = [torch.from_numpy(np.asarray(frames[a:b], np.float32)) for a, b in bounds[start : start + _ROWS]]
        audio = torch.nn.utils.rnn.pad_sequence(cut, batch_first=True)  # (windows, frames, width)
        lengths = torch.tensor([len(piece) for piece in cut])
        mask = torch.arange(audio.shape[1]) < lengths[:, None]
        of_words = {name: value.expand(len(cut), *value.shape[1:]) for name, value in words.items()}
        output = model(audio_features=audio.to(model.device), audio_mask=mask.long().to(model.device), **of_words)
        rows.append(output.logits.float().softmax(dim=-1).cpu().numpy())
    probabilities = np.concatenate(rows)
    if speech is not None:
        said = np.concatenate([[0], np.cumsum(speech)])  # frames with speech before each
        edges = np.round(bounds / frame_rate / _FRAME).astype(np.int64).clip(0, len(speech))
        probabilities[(said[edges[:, 1]] - said[edges[:, 0]]) * _FRAME < SPEECH] = np.nan
    return Timeline(
        labels=tuple(model.config.id2label[i] for i in range(model.config.num_labels)),
        times=times,
        probabilities=probabilities,
        window=window,
        seconds=len(frames) / frame_rate,
    )


def _words(model: Any, processor: Any, frames: np.ndarray, text: str | None) -> dict[str, torch.Tensor]:
    """The states of the text encoder, (1, tokens, width), and their mask."""
    inputs = processor(audio_features=frames, text=text or "").to(model.device)
    states = model.encode_text(inputs["input_ids"], inputs["attention_mask"])
    return {"text_features": states, "text_mask": inputs["attention_mask"]}


__all__ = ["HOP", "MOST", "SPEECH", "WINDOW", "Timeline", "emotion_over_time", "frames_of", "holds_encoder", "windows"]
