"""How the model of a card was trained: in words, and as a table."""

import dataclasses
from typing import Any

from transformers import TrainingArguments

from .. import __version__
from ..markup import Markdown
from ..settings.settings import Settings
from .card_encoders import encoder_rows
from .card_results import CardFacts
from .card_results import all_rows
from .card_results import count


def training(facts: CardFacts) -> str:
    """How the model came about, in a sentence or two."""
    settings = facts.settings
    if facts.is_final:
        runs = count(len(facts.entry["runs"]), "run")
        epochs = f"{facts.model['stop_after_epoch']} of {settings.num_epochs} epochs"
        return (
            f"Trained on {all_rows(facts)} for {facts.model['steps']} steps: the "
            f"median of those that validation chose in the {runs} above ({epochs} of {facts.model['epoch_steps']} "
            f"steps). Learning rate and curriculum follow the schedule of all epochs and stop there.{_reached(facts)} "
            "No rows were held out for validation, and nothing was selected."
        )
    held_out = facts.model["parts"]["validation"]["rows"]
    return (
        f"Trained on {facts.model['parts']['train']['rows']} rows; epoch {facts.model['best_epoch']} of "
        f"{settings.num_epochs} was the best on {held_out} validation rows."
    )


def _reached(facts: CardFacts) -> str:
    """What part of the rows the final model's training has seen, where that is not all of them in each epoch."""
    rows, settings = facts.model["parts"]["train"]["rows"], facts.settings
    said = ""
    if facts.pool_size is not None and facts.pool_size < rows:
        said = f" By then the curriculum had let in {facts.pool_size} of the {rows} rows."
    accumulated = int(settings.training_arguments.get("gradient_accumulation_steps", 1))
    of_epoch = facts.model["epoch_steps"] * settings.batch_size * accumulated * facts.environment["processes"]
    if of_epoch < (facts.pool_size or rows):
        said += f" An epoch passes over {of_epoch} of the {facts.pool_size or rows} rows, drawn anew each time."
    return said


def _optimiser(settings: Settings) -> str:
    """The optimiser with what it was used with: the recipe's own values, and the Trainer's for the rest."""
    used = {field.name: field.default for field in dataclasses.fields(TrainingArguments)} | settings.training_arguments
    name = getattr(used["optim"], "value", used["optim"])
    parts = [f"{name}, betas {used['adam_beta1']:g} and {used['adam_beta2']:g}, epsilon {used['adam_epsilon']:g}"]
    parts.append(f"gradients clipped to norm {used['max_grad_norm']:g}" if used["max_grad_norm"] else "no clipping")
    parts.append(f"warm-up {used['warmup_steps']:g}" if used["warmup_steps"] else "no warm-up")
    parts.append("bfloat16" if used["bf16"] else "float16" if used["fp16"] else "float32")
    return "; ".join(parts)


def training_rows(facts: CardFacts) -> list[tuple[str, str | Markdown]]:
    """The table of its training: what, and the value."""
    model, settings, env = facts.model, facts.settings, facts.environment
    classes = ", ".join(f"{name} {count}" for name, count in model["parts"]["train"]["classes"].items())
    curriculum = "none"
    if settings.use_curriculum_learning and settings.curriculum_type != "none" and settings.curriculum_epochs:
        length = count(settings.curriculum_epochs, "epoch")
        curriculum = f"{settings.curriculum_type}, {settings.curriculum_pacing}, {length}"
    table = [
        ("rows", f"{model['parts']['train']['rows']} ({classes})"),
        ("speakers", str(model["parts"]["train"]["speaker_count"])),
        ("epochs", f"{facts.model['stop_after_epoch'] or facts.model['best_epoch']} of {settings.num_epochs}"),
        ("steps", f"{model['steps']} of {settings.batch_size} rows" + _parallel(settings, env)),
        ("seed", str(model["seed"])),
        (
            "learning rate",
            f"{settings.learning_rate:g}, {settings.lr_scheduler}; weight decay {settings.weight_decay:g}",
        ),
        ("optimiser", _optimiser(settings)),
        ("curriculum", curriculum),
        ("speaker batches", "yes" if settings.use_speaker_disentanglement else "no"),
        ("rows weighted by difficulty", "yes" if settings.use_difficulty_scaling else "no"),
    ]
    if len(settings.modalities) > 1:
        table.append(("fusion", settings.fusion_type))
    table += encoder_rows(facts)
    table.append(("time", f"{model['train_seconds']:.0f} s on {', '.join(env['accelerators']) or 'CPU'}"))
    return [*table, ("software", _software(env)), *_other_software(facts)]


def _parallel(settings: Settings, env: dict[str, Any]) -> str:
    accumulated = int(settings.training_arguments.get("gradient_accumulation_steps", 1))
    parts = [f"{accumulated} batches accumulated"] if accumulated > 1 else []
    parts += [f"on each of {env['processes']} devices"] if env["processes"] > 1 else []
    return "".join(f", {part}" for part in parts)


def _software(env: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in env["packages"].items())
    commit = ""
    if env["commit"] is not None:
        commit = f" (commit {env['commit'].rstrip('+')[:12]}{', with changes' if env['commit'].endswith('+') else ''})"
    return f"EmoMM {__version__}{commit}, Python {env['python']}, {versions}"


def _other_software(facts: CardFacts) -> list[tuple[str, str]]:
    """Where the numbers were made with other software than the model."""
    of_model, of_numbers = _software(facts.environment), _software(facts.job_environment)
    return [] if of_model == of_numbers else [("software of the folds", of_numbers)]


__all__ = ["training", "training_rows"]
