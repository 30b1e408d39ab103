"""What is found of a user's own fusion before anything trains."""

import pytest
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm import fusions
from emomm.experiments import job
from emomm.settings.recipe import load_recipe

OWN = """
import torch.nn.functional as F
from torch import nn
from emomm.fusions import Fusion, FusionOutput, register_fusion

class Sum(Fusion):
    def __init__(self, dims, hidden_dim, dropout):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims)
        self.p, self.module = dropout, nn.Dropout1d(dropout)

    def forward(self, states):
        total = sum(layer(state.pooled) for layer, state in zip(self.layers, states))
        return FusionOutput(self.drop(total))

@register_fusion("by_module")
class ByModule(Sum):
    def drop(self, x):
        return self.module(x)

@register_fusion("by_number")
class ByNumber(Sum):
    def drop(self, x):
        return F.dropout(x, self.p, self.training)
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """The registry, put back after the test."""
    monkeypatch.setattr(fusions, "_REGISTRY", dict(fusions._REGISTRY))


@pytest.mark.parametrize(("fusion", "post", "said"), [
    ("by_number", 0.5, True), ("by_module", 0.5, False), ("by_number", None, False),
])  # fmt: skip
def test_dropout_that_can_not_be_changed_is_said(tmp_path, caplog, fusion, post, said):
    (tmp_path / "summing.py").write_text(OWN)
    recipe = write_recipe(
        tmp_path,
        text_model_name=tiny_encoder(tmp_path / "encoder", hidden=16),
        fusion_type=fusion,
        fusion_module="summing.py",
        post_curriculum_dropout=post,
    )
    with caplog.at_level("INFO"):
        job.run(load_recipe(recipe), dry_run=True)
    notes = [record.message for record in caplog.records if "is random in training by itself" in record.message]
    assert len(notes) == said
    if said:
        assert "'by_number'" in notes[0] and "post_curriculum_dropout" in notes[0]
