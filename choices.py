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
EVALUATION_MODES = (
    "loso",
    "cross_corpus",
    "both",
    "leave_speaker_out",
    "leave_script_out",
    "leave_corpus_out",
    "group_folds",
    "published",
    "manifest",
)
OF_TRAINING_CORPORA = ("loso", "leave_speaker_out", "leave_script_out", "leave_corpus_out", "group_folds")
"""Those of them that test rows of `train_dataset` alone, and don't read `test_datasets`."""
FROM_OUTSIDE = ("published", "manifest")
"""Those of them whose parts somebody else has drawn."""
DISJOINT_BY = ("speaker", "transcript", "script", "recording")
VALIDATION_RULES = ("session", "speakers", "random", "random_unstratified")
DIFFICULTY_METHODS = ("euclidean_distance", "weighted", "directional")


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError that lists the choices where the value is none of them."""
    if value not in choices:
        raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")


MODALITIES = ("audio", "text")
RATINGS = ("valence", "arousal", "dominance")
BOTH = "both"
"""What `modality` calls voice and words together."""
