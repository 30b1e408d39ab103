"""In which form a modality that an encoder reads comes to the model: stored states, those of lower layers, inputs."""

from dataclasses import dataclass

from ..features.encoder_states import WhichStates
from ..settings.tuning import EncoderTuning

VECTORS, STATES, INPUTS = "vectors", "states", "inputs"


@dataclass(frozen=True)
class InputForm:
    """How a modality comes to the model.

    Args:
        kind: `vectors`, the states of a frozen encoder, stored; `states`, those that the layers above `start` go on
            from, stored; `inputs`, recordings or tokens, which the whole encoder reads at each step.
        start: the layer up to which nothing of the encoder changes; 0 where something below the layers does, too.
        note: what there is to say of it, "" for nothing.
    """

    kind: str
    start: int = 0
    note: str = ""


def form_of(tuning: EncoderTuning, depth: int, store: bool, changes: str, below_too: bool, word: str) -> InputForm:
    """The form that costs a step least among those that give the same.

    Args:
        tuning: of the encoder.
        depth: its layers.
        store: whether states below tuned layers may be stored (`store_frozen_layers`).
        changes: why what goes into the encoder is not the same in each epoch, in words; "" where it is.
        below_too: whether something below the layers is tuned besides, as by LoRA on modules that the user names.
        word: "voice" or "words", for the note.
    """
    if not tuning.tunes:
        return (
            InputForm(INPUTS, depth, f"{word}: the frozen encoder runs at each step: {changes}")
            if changes
            else (InputForm(VECTORS, depth))
        )
    if tuning.how == "full":
        return InputForm(INPUTS)
    start = depth - (tuning.last or depth)
    if tuning.last is None and (below_too or word == "words"):
        return InputForm(INPUTS, start)
    lowest = WhichStates.read(tuning.layers, depth).layers[0]
    reason = changes
    if not store:
        reason = "store_frozen_layers is false"
    elif lowest < start:
        reason = f"{'text' if word == 'words' else 'speech'}_layers reads layer {lowest}, below those that are tuned"
    above = depth - start
    if reason:
        return InputForm(INPUTS, start, f"{word}: all {depth} layers run at each step: {reason}")
    what = f"the states of layer {start} are stored" if start else "what enters the first layer is stored"
    return InputForm(STATES, start, f"{word}: {what}: a step runs {above} of {depth} layers")


__all__ = ["INPUTS", "STATES", "VECTORS", "InputForm", "form_of"]
