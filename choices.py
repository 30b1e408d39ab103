"""Names that more than one room knows: what can be chosen. Imports nothing, so that `--help` is quick."""

CURRICULUM_TYPES = (
    "none",
    "difficulty",
    "inverse_difficulty",
    "random",
    "random_nested",
    "random_matched",
    "class_balance",
    "model_confidence",
    "preset_order",
)
PACINGS = ("linear", "sqrt", "log", "exponential")
EVALUATION_MODES = ("loso", "cross_corpus", "both")
VALIDATION_RULES = ("session", "speakers", "random", "random_unstratified")
DIFFICULTY_METHODS = ("euclidean_distance", "weighted", "directional")


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError that lists the choices where the value is none of them."""
    if value not in choices:
        raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")


MODALITIES = ("audio", "text")
BOTH = "both"
"""What `modality` calls voice and words together."""
