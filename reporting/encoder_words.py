"""How an experiment reads and tunes its encoders, in words and as a table: for terminal, report and card alike."""

from collections.abc import Mapping
from typing import Any

from .score_words import in_words
from .table import Table

ENCODERS = {"speech": "voice", "text": "words"}
"""What results.json calls encoders, and what a person says is read by each."""
_LAYERS = {"last": "last layer", "mean": "mean of all layers", "weighted": "learned weights of all layers"}


def encoders_of(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The encoders of an experiment, by `ENCODERS`, as results.json has them, that say how they were tuned.

    Args:
        entry: of results.json; one from before encoders were tuned has none.
    """
    found = {name: entry.get(f"{name}_encoder") for name in ENCODERS}
    return {name: said for name, said in found.items() if said and "tuning" in said}


def encoder_lines(entry: Mapping[str, Any]) -> list[str]:
    """`voice by microsoft/wavlm-base-plus: LoRA of rank 8 ...; last layer`, of each encoder that reads recordings, is
    tuned, or of which another layer is used than the last."""
    return [
        f"{ENCODERS[name]} by {said['name']}: {tuning_in_words(said)}; {layers_in_words(said)}"
        for name, said in encoders_of(entry).items()
        if name == "speech" or said["tuning"] != "frozen" or said["layers"] != "last"
    ]


def tuning_in_words(said: Mapping[str, Any]) -> str:
    """What of an encoder was tuned, and how: `frozen`, `LoRA of rank 8 ... at a learning rate of 0.0002`."""
    if said["tuning"] == "frozen":
        return "frozen"
    last = said.get("tuned_layers")
    layers = "" if last is None else f"its last {last} layers" if last > 1 else "its last layer"
    if said["tuning"] == "lora":
        lora = said["lora"]
        where = f" in {layers or 'all its layers'}"
        on = f" on {in_words(lora['targets'])}" if lora.get("targets") else ""
        dropout = f", dropout {lora['dropout']:g}" if lora.get("dropout") else ""
        what = f"LoRA of rank {lora['rank']} (alpha {lora['alpha']:g}{dropout}){on}{where}"
    elif said["tuning"] == "last_k":
        what = f"{layers} tuned"
    else:
        what = "tuned as a whole" + (", convolutions too" if said.get("convolutions") else " but for its convolutions")
    decay = said.get("layer_decay", 1)
    falls = f", times {decay:g} from each layer to the one below" if decay != 1 else ""
    return f"{what}, at a learning rate of {said['learning_rate']:g}{falls}"


def layers_in_words(said: Mapping[str, Any]) -> str:
    """Which layers' states are used: `last layer`, `mean of layers 6 and 9`."""
    layers = said["layers"]
    if isinstance(layers, str):
        return _LAYERS[layers]
    numbers = in_words([str(layer) for layer in layers])
    return f"mean of layers {numbers}" if len(layers) > 1 else f"layer {numbers}"


def trained_in_words(run: Mapping[str, Any]) -> str:
    """`310,404 of 94,691,332 (0.3 %)`: how many of a model's parameters were trained; "" where that is not known."""
    said = run.get("parameters")
    if not said:
        return ""
    share = 100 * said["trained"] / max(said["all"], 1)
    return f"{said['trained']:,} of {said['all']:,} ({share:.1f} %)"


def encoders_table(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """The encoders of experiments that read recordings, or tune what reads; without rows where there are none.

    Args:
        entries: of results.json, by the name that the report has for each.
    """
    rows = []
    for name, entry in entries.items():
        trained = [words for run in _done(entry) if (words := trained_in_words(run))]
        for which, said in encoders_of(entry).items() if encoder_lines(entry) else ():
            cells = [name, ENCODERS[which], said["name"], tuning_in_words(said), layers_in_words(said)]
            rows.append([*cells, trained[0] if trained else None])
    columns = ["experiment", "reads", "encoder", "tuning", "layers", "parameters trained"]
    if all(row[-1] is None for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    note = "Parameters are those of all of the model that trains; stored states of an encoder are read without it."
    return Table("encoders", "Encoders, and how they were tuned", columns, rows, note if len(columns) > 5 else "")


def layer_weights(entry: Mapping[str, Any]) -> dict[str, list[list[float]]]:
    """The learned weights of layers, by encoder: of each run that is done, those of the layers from what enters the
    first one; each run's sum is 1."""
    found: dict[str, list[list[float]]] = {}
    for run in _done(entry):
        for name, shares in run.get("layer_weights", {}).items():
            found.setdefault(name, []).append(shares)
    return found


def _done(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [run for run in entry["runs"] if run["status"] == "done"]


__all__ = [
    "ENCODERS", "encoder_lines", "encoders_of", "encoders_table", "layer_weights", "layers_in_words",
    "trained_in_words", "tuning_in_words",
]  # fmt: skip
