"""An own fusion tried before anything trains: whether it gives what a model needs, and what of it drops values."""

import copy

import torch

from ..configuration_emomm import EmoMMConfig
from ..fusions import FusionOutput
from ..modeling_emomm import EmoMMForEmotionClassification


def _batch(config: EmoMMConfig) -> dict[str, torch.Tensor]:
    return {"audio_features": torch.ones(2, 3, config.audio_dim), "text_features": torch.ones(2, 4, config.text_dim)}


def try_fusion(config: EmoMMConfig) -> None:
    """Builds the model and gives it a batch. Raises what the fusion raises, and ValueError for what is no output."""
    model = EmoMMForEmotionClassification(config).eval()
    right = (2, config.fusion_hidden_dim)

    def check(fusion, states, output) -> None:
        if not isinstance(output, FusionOutput) or output.embedding.shape != right:
            found = tuple(output.embedding.shape) if isinstance(output, FusionOutput) else type(output).__name__
            raise ValueError(
                f"the fusion {config.fusion_type!r} gave {found} for two rows, but must give a FusionOutput whose "
                f"embedding is {right} (fusion_hidden_dim is {config.fusion_hidden_dim})"
            )

    model.fusion.register_forward_hook(check)
    with torch.no_grad():
        model(**_batch(config))


def drops_out_of_reach(config: EmoMMConfig) -> bool:
    """Whether the fusion still drops values when dropout is set to 0: by a number of its own, as `F.dropout` takes."""
    config = copy.deepcopy(config)
    config.dropout, config.feature_noise, config.modality_dropout = 0.5, None, 0.0  # what the fusion itself does
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = EmoMMForEmotionClassification(config).train()
        model.set_dropout(0.0)
        batch = _batch(config)
        once = model(**batch).embedding
        return not all(torch.equal(model(**batch).embedding, once) for _ in range(3))


__all__ = ["drops_out_of_reach", "try_fusion"]
