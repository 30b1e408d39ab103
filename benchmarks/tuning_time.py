"""How long a step takes that tunes a speech encoder: in the Trainer against a loop by hand, and on stored states.

    python benchmarks/tuning_time.py [--cases lora full frozen_below] [--rounds 3] [--steps 5] [--size small] [--json]

Encoders of base size (12 layers, 768 wide) with random weights; recordings of noise, 4 s each. The figures are medians
over the rounds, in which the two sides take turns, and who begins changes; the first step of each side is left out.

lora, full: WavLM and wav2vec2, batch 4. The Trainer reads windows of mapped samples, extracts, pads, clips, schedules;
the loop has the same model, optimiser, clipping and schedule, on the very batches of the Trainer, made before.

frozen_below: WavLM, the last 2 of 12 layers tuned, batch 16, no dropout. A step of the Trainer on stored states of
layer 10 against one that runs all layers, and by how much the losses of 20 steps differ at most where the states are
stored in float16 and in float32.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Benchmark
from measuring import parser
from transformers import PreTrainedConfig
from transformers import PreTrainedModel
from transformers import TrainerCallback
from transformers import Wav2Vec2Config
from transformers import Wav2Vec2FeatureExtractor
from transformers import Wav2Vec2Model
from transformers import WavLMConfig
from transformers import WavLMModel

from emomm.configuration_emomm import EmoMMConfig
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.curriculum_trainer import CurriculumTrainingArguments
from emomm.data_collator import EmoMMDataCollator
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.encoder_states import WhichStates
from emomm.features.sequences import Sequences
from emomm.features.speech_states import SpeechStateStore
from emomm.features.windows import Windows
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.tuning import apply_tuning
from emomm.waveforms import SAMPLING_RATE

CLASSES, SECONDS, LAST = 4, 4.0, 2
RATE = 1e-5  # of learning: random weights stay tame
FAMILIES = {"wavlm": (WavLMModel, WavLMConfig), "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config)}
SIZES: dict[str, dict[str, Any]] = {
    "base": {},  # as transformers has them by default: 12 layers, 768 wide, 7 convolutions
    "small": {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
    },
}
STILL = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(now(args.device))


class Trainer(CurriculumTrainer):
    """Keeps the loss of each step, as a number of the device."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.losses: list[torch.Tensor] = []

    def training_step(self, *args, **kwargs):
        self.losses.append(super().training_step(*args, **kwargs))
        return self.losses[-1]


def now(device: torch.device) -> float:
    """The time, when the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def per_step(ends: list[float]) -> float:
    """Seconds a step, from when each ended; the first is left out."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def extractor() -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def encoder_config(family: str, size: str, **values: Any) -> PreTrainedConfig:
    return FAMILIES[family][1](**SIZES[size], **values)


def model_of(
    config: PreTrainedConfig, family: str, tuning: str, last: int | None = None, **head: Any
) -> EmoMMForEmotionClassification:
    """A model that holds an encoder of this configuration: the same weights at each call. The rest as in `held`."""
    torch.manual_seed(0)
    return held(FAMILIES[family][0](config), tuning, last, **head)


def held(encoder: PreTrainedModel, tuning: str, last: int | None = None, **head: Any) -> EmoMMForEmotionClassification:
    """A model of the voice alone that holds and tunes an encoder.

    Args:
        last: how many layers are tuned; None, as the tuning has it.
        head: of `EmoMMConfig`.
    """
    config = encoder.config
    apply_tuning(encoder, tuning, last)
    labels = {i: str(i) for i in range(CLASSES)}
    own = EmoMMConfig(
        modality="audio",
        audio_dim=config.hidden_size,
        speech_config=config,
        speech_tuning=tuning,
        speech_start=0 if last is None else config.num_hidden_layers - last,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
        **head,
    )
    model = EmoMMForEmotionClassification(own)
    model.attach_speech_encoder(encoder)
    return model


def recordings_of(folder: Path, rows: int, seconds: float = SECONDS) -> Sequences:
    """Noise in int16 on disk, memory-mapped, as the store has recordings."""
    length = round(seconds * SAMPLING_RATE)
    values = np.lib.format.open_memmap(folder / "samples.npy", "w+", np.int16, (rows * length, 1))
    generator = np.random.default_rng(0)
    for row in range(rows):  # louder and softer, lower and higher
        noise = generator.standard_normal(length + row % 8)
        noise = np.convolve(noise, np.ones(1 + row % 8) / (1 + row % 8), mode="valid")
        values[row * length : (row + 1) * length, 0] = np.clip(3000 * (1 + row % 3) * noise, -32768, 32767)
    return Sequences.from_arrays(np.load(folder / "samples.npy", mmap_mode="r"), np.full(rows, length))


def rows_of(recordings: Sequences) -> EmotionRows:
    """To train on, as `voice_input: recording` has them by default."""
    labels = np.arange(len(recordings)) % CLASSES
    return EmotionRows(windows=Windows(recordings, 10.0, seed=0), labels=labels)


def trainer_of(
    model: EmoMMForEmotionClassification, rows: EmotionRows, folder: Path, batch: int, steps: int, **arguments: Any
) -> tuple[Trainer, Clock]:
    clock = Clock()
    given = {"dataloader_pin_memory": False, **arguments}
    args = CurriculumTrainingArguments(
        output_dir=str(folder / "run"),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=RATE,
        eval_strategy="no",
        disable_tqdm=True,
        report_to=[],
        save_seconds=3600,
        **given,
    )
    collator = EmoMMDataCollator(feature_extractor=extractor())
    return Trainer(model=model, args=args, train_dataset=rows, data_collator=collator, callbacks=[clock]), clock


def trained(trainer: Trainer, clock: Clock) -> float:
    """Trains; returns seconds a step."""
    trainer.train()
    assert len(clock.ends) == trainer.args.max_steps
    return per_step(clock.ends)


def loop_seconds(
    model: EmoMMForEmotionClassification, batches: list[dict[str, torch.Tensor]], bf16: bool = False
) -> float:
    """Seconds a step in the hand-written loop, of which `batches` are on the model's device."""
    device = model.device
    parameters = [each for each in model.train().parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    ends = []
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ends.append(now(device))
    return per_step(ends)


def against_loop(tuning: str, family: str, size: str, rounds: int, steps: int, batch: int = 4) -> dict[str, float]:
    """Seconds of a step in the Trainer and in the loop, and their ratio."""
    config, found = encoder_config(family, size), []
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(recordings_of(Path(folder), batch * steps))
        for number in range(rounds):
            trainer, clock = trainer_of(model_of(config, family, tuning), rows, Path(folder), batch, steps)
            batches = list(trainer.get_train_dataloader())
            sides = {
                "trainer": lambda trainer=trainer, clock=clock: trained(trainer, clock),
                "loop": lambda batches=batches: loop_seconds(model_of(config, family, tuning), batches),
            }
            found.append({side: sides[side]() for side in sorted(sides, reverse=number % 2 == 0)})
    return medians(found, "trainer", "loop")


def medians(rounds: list[dict[str, float]], above: str, below: str) -> dict[str, float]:
    """Of each side and of the ratio of two of them, over rounds."""
    found = {side: statistics.median(each[side] for each in rounds) for side in rounds[0]}
    return {**found, "ratio": statistics.median(each[above] / each[below] for each in rounds)}


def frozen_below(size: str, rounds: int, steps: int = 20, batch: int = 16) -> dict[str, float]:
    """Seconds of a step on stored states and of one that runs all layers, and how their losses differ."""
    config, found = encoder_config("wavlm", size, **STILL), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_of(config, "wavlm", "last_k", LAST).speech_encoder.save_pretrained(folder / "encoder")
        extractor().save_pretrained(folder / "encoder")
        recordings = recordings_of(folder, 4 * batch)
        sides = {"all": rows_of(recordings)}
        for dtype in ("float16", "float32"):
            sides[dtype] = stored_rows(folder, recordings, sides["all"], config.num_hidden_layers - LAST, dtype)
        for number in range(rounds):
            times, losses = {}, {}
            for side in sorted(sides, reverse=number % 2 == 0):
                model = model_of(config, "wavlm", "last_k", LAST, dropout=0.0)
                trainer, clock = trainer_of(model, sides[side], folder, batch, steps)
                times[side] = trained(trainer, clock)
                losses[side] = torch.stack(trainer.losses).double()
            differences = {
                f"losses {side}": (losses[side] - losses["all"]).abs().max().item() for side in sides if side != "all"
            }
            found.append({**times, **differences, "losses move": losses["all"].std().item()})
    return medians(found, "all", "float16")


def stored_rows(folder: Path, recordings: Sequences, rows: EmotionRows, layer: int, dtype: str) -> EmotionRows:
    """The same rows by the stored states of a layer, in the same order."""
    store = SpeechStateStore(str(folder / "encoder"), WhichStates.under(layer), dtype, folder / dtype)
    keys = np.zeros((len(recordings), 16), np.uint8)
    keys[:, :2] = np.arange(len(recordings), dtype="<u2").view(np.uint8).reshape(-1, 2)
    return EmotionRows(speech_states=store.states(recordings, keys), labels=rows.labels, lengths=rows.lengths)


def row_of(found: dict[str, float]) -> dict[str, float]:
    """As it is printed."""
    if "loop" in found:
        return {"trainer (s)": found["trainer"], "loop (s)": found["loop"], "trainer / loop": found["ratio"]}
    return {
        "all layers (s)": found["all"],
        "stored, float16 (s)": found["float16"],
        "stored, float32 (s)": found["float32"],
        "all / float16": found["ratio"],
        "losses apart, float16": found["losses float16"],
        "losses apart, float32": found["losses float32"],
        "losses move by": found["losses move"],
    }


def main() -> None:
    known = parser(__doc__, rounds=3)
    known.add_argument("--cases", nargs="+", choices=("lora", "full", "frozen_below"))
    known.add_argument("--steps", type=int, default=5, help="of lora and full; frozen_below has 20")
    known.add_argument("--size", choices=[*SIZES], default="base")
    options = known.parse_args()
    with Benchmark(__file__, options) as figures:
        for case in options.cases or ("lora", "full", "frozen_below"):
            for family in ("wavlm",) if case == "frozen_below" else FAMILIES:
                if case == "frozen_below":
                    found = frozen_below(options.size, options.rounds)
                else:
                    found = against_loop(case, family, options.size, options.rounds, options.steps)
                figures.add(f"{case} {family}", **row_of(found))


if __name__ == "__main__":
    main()
