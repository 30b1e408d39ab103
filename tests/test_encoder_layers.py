"""Encoders layer by layer: the whole is its parts, and a recording gives what it gives alone."""

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig
from transformers import BertModel
from transformers import Data2VecAudioConfig
from transformers import Data2VecAudioModel
from transformers import DistilBertConfig
from transformers import DistilBertModel
from transformers import ElectraConfig
from transformers import ElectraModel
from transformers import HubertConfig
from transformers import HubertModel
from transformers import MPNetConfig
from transformers import MPNetModel
from transformers import PreTrainedModel
from transformers import RobertaConfig
from transformers import RobertaModel
from transformers import UniSpeechSatConfig
from transformers import UniSpeechSatModel
from transformers import Wav2Vec2BertConfig
from transformers import Wav2Vec2BertModel
from transformers import Wav2Vec2Config
from transformers import Wav2Vec2Model
from transformers import WavLMConfig
from transformers import WavLMModel
from transformers import WhisperConfig
from transformers import WhisperModel
from transformers import XLMRobertaConfig
from transformers import XLMRobertaModel

from emomm import speech_layers
from emomm.configuration_emotion2vec import Emotion2VecConfig
from emomm.encoder_layers import EncoderLayers
from emomm.modeling_emotion2vec import Emotion2VecModel
from emomm.speech_layers import SPAN
from emomm.speech_layers import spans_masked

WIDTH, DEPTH = 16, 4
SIZE = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 2, "intermediate_size": 24}
CONVOLUTIONS = {"conv_dim": [8] * 3, "conv_kernel": [10, 8, 4], "conv_stride": [5, 4, 4]}
WAVE = {**SIZE, **CONVOLUTIONS, "num_feat_extract_layers": 3, "num_conv_pos_embedding_groups": 2}
POSITIONS = {"num_conv_pos_embeddings": 16}
DATA2VEC = {**WAVE, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
W2V_BERT = {**SIZE, "conv_depthwise_kernel_size": 5, "vocab_size": 20}
WHISPER = {
    "d_model": WIDTH,
    "encoder_layers": DEPTH,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_source_positions": 60,
    "num_mel_bins": 8,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
EMOTION2VEC = {
    **CONVOLUTIONS,
    "hidden_size": WIDTH,
    "prenet_depth": 1,
    "depth": DEPTH - 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_extra_tokens": 3,
    "conv_pos_kernel": 4,
    "conv_pos_depth": 2,
    "conv_pos_groups": 2,
}
BERT = {**SIZE, "vocab_size": 30, "max_position_embeddings": 40}
DISTILBERT = {"dim": WIDTH, "n_layers": DEPTH, "n_heads": 2, "hidden_dim": 24, "vocab_size": 30}

# name -> configuration, model, what its configuration says
SPEECH = {
    "wav2vec2-group": (Wav2Vec2Config, Wav2Vec2Model, {**WAVE, **POSITIONS, "feat_extract_norm": "group"}),
    "wav2vec2-layer": (Wav2Vec2Config, Wav2Vec2Model, {**WAVE, **POSITIONS, "feat_extract_norm": "layer"}),
    "wav2vec2-stable": (Wav2Vec2Config, Wav2Vec2Model, {**WAVE, **POSITIONS, **STABLE}),
    "hubert-group": (HubertConfig, HubertModel, {**WAVE, **POSITIONS, "feat_extract_norm": "group"}),
    "hubert-stable": (HubertConfig, HubertModel, {**WAVE, **POSITIONS, **STABLE}),
    "hubert-batch": (HubertConfig, HubertModel, {**WAVE, **POSITIONS, "conv_pos_batch_norm": True}),
    "wavlm": (WavLMConfig, WavLMModel, {**WAVE, **POSITIONS, "feat_extract_norm": "group"}),
    "wavlm-stable": (WavLMConfig, WavLMModel, {**WAVE, **POSITIONS, **STABLE}),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatModel, {**WAVE, **POSITIONS}),
    "data2vec-audio": (Data2VecAudioConfig, Data2VecAudioModel, DATA2VEC),
    "w2v-bert": (Wav2Vec2BertConfig, Wav2Vec2BertModel, W2V_BERT),
    "w2v-bert-relative": (
        Wav2Vec2BertConfig,
        Wav2Vec2BertModel,
        {**W2V_BERT, "position_embeddings_type": "relative"},
    ),
    "w2v-bert-rotary": (
        Wav2Vec2BertConfig,
        Wav2Vec2BertModel,
        {**W2V_BERT, "position_embeddings_type": "rotary"},
    ),
    "whisper": (WhisperConfig, WhisperModel, WHISPER),
    "emotion2vec": (Emotion2VecConfig, Emotion2VecModel, EMOTION2VEC),
    "emotion2vec-scales": (Emotion2VecConfig, Emotion2VecModel, {**EMOTION2VEC, "alibi_scale_per_layer": True}),
}
TEXT = {
    "bert": (BertConfig, BertModel, BERT),
    "roberta": (RobertaConfig, RobertaModel, BERT),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel, BERT),
    "electra": (ElectraConfig, ElectraModel, {**BERT, "embedding_size": 8}),
    "distilbert": (DistilBertConfig, DistilBertModel, DISTILBERT),
    "mpnet": (MPNetConfig, MPNetModel, BERT),
}
each_speech = pytest.mark.parametrize("name", SPEECH)
each = pytest.mark.parametrize("name", [*SPEECH, *TEXT])


def encoder_of(name: str) -> PreTrainedModel:
    """In evaluation mode, with norms and biases that are not the identity."""
    config_class, model_class, values = (SPEECH | TEXT)[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = model_class(config_class(**values))
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm1d) and module.weight is not None:
                    module.weight.normal_(1, 0.2)
                    module.bias.normal_(0, 0.2)
                if isinstance(module, nn.BatchNorm1d):
                    module.running_mean.normal_()
            for parameter in model.parameters():
                if parameter.ndim > 1 and parameter.std() < 0.1:
                    parameter.normal_(0, 0.2)
    return (model.get_encoder() if name == "whisper" else model).eval()


def inputs_of(name: str, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What goes into an encoder, of so many frames (at most 60), with padding that is no zeros where it may be any."""
    generator = torch.Generator().manual_seed(3)
    if name in TEXT:
        ids = torch.randint(3, 30, (len(lengths), max(lengths)), generator=generator)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        return torch.where(mask, ids, (SPEECH | TEXT)[name][0]().pad_token_id or 0), mask.long()
    if name == "whisper":
        mel = torch.randn(len(lengths), 8, 120, generator=generator)
        return mel, (torch.arange(120) < 2 * torch.tensor(lengths)[:, None]).long()
    if name.startswith("w2v-bert"):
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        return torch.randn(len(lengths), max(lengths), 160, generator=generator), mask.long()
    samples = torch.tensor([80 * length + 90 for length in lengths])
    mask = torch.arange(int(samples.max())) < samples[:, None]
    return 0.1 * torch.randn(mask.shape, generator=generator) * mask + 0.05 * ~mask, mask.long()


def hidden_of(name: str, encoder: PreTrainedModel, inputs: torch.Tensor) -> list[torch.Tensor]:
    """By transformers' own code: one recording, or several of one length."""
    outputs = encoder(inputs, output_hidden_states=True)
    return [*outputs.hidden_states[:-1], outputs.last_hidden_state]


def assert_close(found: torch.Tensor, expected: torch.Tensor):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@each
@torch.no_grad()
def test_a_batch_of_one_length_gives_what_the_encoders_own_code_gives(name):
    encoder = encoder_of(name)
    inputs, _ = inputs_of(name, [60, 60] if name == "whisper" else [30, 30])
    expected = hidden_of(name, encoder, inputs)
    layers = EncoderLayers.of(encoder)
    assert (layers.depth, layers.width) == (DEPTH, WIDTH)
    found, frame_mask = layers.states(inputs, None, range(DEPTH + 1))
    assert frame_mask.dtype == torch.bool and frame_mask.all() and frame_mask.shape == expected[0].shape[:2]
    for layer, states in enumerate(expected):
        assert_close(found[layer], states)


@each
@torch.no_grad()
def test_padding_changes_nothing_and_the_whole_is_its_parts(name):
    """Of each row of a padded batch, the states are those that it has alone, cut anywhere into lower and upper."""
    encoder, lengths = encoder_of(name), [30, 7, 18, 1]
    layers = EncoderLayers.of(encoder)
    inputs, mask = inputs_of(name, lengths)
    whole, frame_mask = layers.states(inputs, mask, range(DEPTH + 1))
    assert frame_mask.sum(dim=1).tolist() == lengths
    for row, count in enumerate(frame_mask.sum(dim=1).tolist()):
        if name == "whisper":
            alone, _ = layers.states(inputs[row : row + 1], mask[row : row + 1], range(DEPTH + 1))
            alone = [alone[layer][:, :count] for layer in range(DEPTH + 1)]
        else:
            alone = hidden_of(name, encoder, inputs[row : row + 1, : int(mask[row].sum())])
        for layer in range(DEPTH + 1):
            assert_close(whole[layer][row, :count], alone[layer][0])
    for start in range(DEPTH + 1):
        states, mask_of_states = layers.lower(inputs, mask, start)
        parts = layers.upper(states, mask_of_states, start)
        assert len(parts) == DEPTH + 1 - start
        shown = mask_of_states[:, layers.extra :]
        assert torch.equal(shown, frame_mask)
        expected, _ = layers.states(inputs, mask, range(DEPTH + 1), start)
        for layer, found in enumerate(parts, start):
            assert_close(found[shown], expected[layer][shown])
            if name != "whisper":
                assert_close(found[shown], whole[layer][shown])


@pytest.mark.parametrize("name", ["wav2vec2-group", "wavlm-stable", "data2vec-audio"])
def test_frozen_convolutions_take_a_few_rows_at_a_time(name, monkeypatch):
    """The same states; where something is kept for the gradient, all rows at once."""
    encoder = encoder_of(name)
    layers = EncoderLayers.of(encoder)
    inputs, mask = inputs_of(name, [30, 7, 18, 1, 30])
    sizes = []
    convolved = type(layers)._convolved

    def counted(self, rows, *more):
        sizes.append(len(rows))
        return convolved(self, rows, *more)

    monkeypatch.setattr(type(layers), "_convolved", counted)

    def states() -> torch.Tensor:
        sizes.clear()
        return layers.states(inputs, mask, [DEPTH])[0][DEPTH].detach()

    whole = states()
    assert sizes == [5]
    monkeypatch.setattr(speech_layers, "_SAMPLES_ON_CPU", 2 * inputs.shape[1] + 1)
    assert_close(states(), whole)
    assert sizes == [5]
    for parameter in encoder.feature_extractor.parameters():
        parameter.requires_grad = False
    assert_close(states(), whole)
    assert sizes == [2, 2, 1]


@torch.no_grad()
def test_whispers_layers_run_over_the_window_below_and_real_frames_above():
    encoder = encoder_of("whisper")
    layers = EncoderLayers.of(encoder)
    inputs, mask = inputs_of("whisper", [30, 12])
    by_its_own_code = hidden_of("whisper", encoder, inputs)
    found, frame_mask = layers.states(inputs, mask, range(DEPTH + 1), start=DEPTH)
    assert frame_mask.shape == (2, 30) and frame_mask.sum(dim=1).tolist() == [30, 12]
    for layer in range(DEPTH + 1):
        assert_close(found[layer], by_its_own_code[layer][:, :30])
    masked, _ = layers.states(inputs, mask, [2, DEPTH], start=2)
    assert_close(masked[2], by_its_own_code[2][:, :30])
    assert not torch.allclose(masked[DEPTH][1, :12], found[DEPTH][1, :12], atol=1e-3)
    louder = inputs.clone()
    louder[1, :, 30:] += 5  # past the recording, and past what the convolutions see of it
    changed, _ = layers.states(louder, mask, [DEPTH], start=0)
    unchanged, _ = layers.states(inputs, mask, [DEPTH], start=0)
    assert_close(changed[DEPTH][1, :12], unchanged[DEPTH][1, :12])


def test_wavlm_calls_its_projections():
    """What replaces one is heard: in transformers' own code, its weight alone is."""
    encoder = encoder_of("wavlm")
    inputs, mask = inputs_of("wavlm", [20, 9])
    layers = EncoderLayers.of(encoder)
    before, _ = layers.states(inputs, mask, [DEPTH])

    class Louder(nn.Linear):
        def forward(self, states):
            return 3 * super().forward(states)

    encoder.encoder.layers[1].attention.q_proj.__class__ = Louder
    after, _ = layers.states(inputs, mask, [DEPTH])
    assert not torch.allclose(after[DEPTH], before[DEPTH], atol=1e-3)
    assert isinstance(copy.deepcopy(encoder).encoder.layers[1].attention, type(encoder.encoder.layers[0].attention))


@each
def test_gradients_reach_every_layer_and_stop_where_it_is_frozen(name):
    encoder = encoder_of(name).train()
    layers = EncoderLayers.of(encoder)
    inputs, mask = inputs_of(name, [20, 9])
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    for layer in layers.layers[2:]:
        layer.requires_grad_(True)
    layers.train(True)
    assert [layer.training for layer in layers.layers] == [False, False, True, True]
    assert not any(module.training for part in (*layers.convolutions, *layers.front) for module in part.modules())
    found, frame_mask = layers.states(inputs, mask, [1, DEPTH])
    assert not found[1].requires_grad
    found[DEPTH][frame_mask].square().sum().backward()
    for number, layer in enumerate(layers.layers):
        grads = [parameter.grad for parameter in layer.parameters() if parameter.requires_grad]
        assert bool(grads) == (number >= 2) and all(grad is not None and grad.isfinite().all() for grad in grads)


@each_speech
def test_gradients_by_checkpointing_are_the_same(name):
    encoder = encoder_of(name)
    inputs, mask = inputs_of(name, [20, 9])

    def gradients(checkpointed: bool) -> list[torch.Tensor]:
        model = copy.deepcopy(encoder)
        if checkpointed:
            model.activation_checkpointing_enable()
        layers = EncoderLayers.of(model)
        layers.train(True)
        torch.manual_seed(0)
        found, frame_mask = layers.states(inputs, mask, [DEPTH])
        found[DEPTH][frame_mask].square().sum().backward()
        return [parameter.grad for parameter in layers.layers.parameters()]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_layers_are_passed_over_in_training_alone():
    encoder = encoder_of("wav2vec2-layer")
    layers = EncoderLayers.of(encoder)
    inputs, mask = inputs_of("wav2vec2-layer", [20, 9])
    plain, _ = layers.states(inputs, mask, [DEPTH])
    still, _ = layers.states(inputs, mask, [DEPTH], layer_drop=0.5)
    assert torch.equal(plain[DEPTH], still[DEPTH])
    encoder.requires_grad_(False)
    layers.layers[3].requires_grad_(True)
    layers.train(True)
    torch.manual_seed(0)
    seen = {
        tuple(layers.states(inputs, mask, [3, DEPTH], layer_drop=0.5)[0][layer].sum().item() for layer in (3, DEPTH))
        for _ in range(12)
    }
    third = {states[0] for states in seen}
    assert len(third) == 1  # frozen layers are never passed over


def test_spec_augment_masks_the_share_that_is_asked_for():
    torch.manual_seed(0)
    frame_mask = torch.arange(400) < torch.tensor([[400], [100]])
    states = torch.ones(2, 400, 3)
    counts = torch.zeros(2)
    for _ in range(300):
        masked = spans_masked(states, frame_mask, 0.3, 0.0)
        assert masked[1, 100:].eq(1).all()
        counts += masked[:, :, 0].eq(0).sum(dim=1)
    shares = counts / 300 / torch.tensor([400, 100])
    assert (shares - 0.3).abs().max() < 0.02, shares
    torch.manual_seed(1)
    filled = spans_masked(states, frame_mask, 0.1, torch.tensor([5.0, 6.0, 7.0]))
    hit = filled[0, :, 0].eq(5)
    assert 0 < hit.sum() and filled[0][hit].eq(torch.tensor([5.0, 6.0, 7.0])).all()
    assert hit.sum() % SPAN == 0 or hit[:SPAN].any() or hit[-SPAN:].any() or hit.sum() > SPAN


@pytest.mark.parametrize("name", ["wav2vec2-layer", "w2v-bert", "whisper", "emotion2vec"])
def test_spec_augment_is_drawn_in_training(name):
    encoder = encoder_of(name)
    layers = EncoderLayers.of(encoder)
    inputs, mask = inputs_of(name, [50, 30])
    with torch.no_grad():
        plain, _ = layers.states(inputs, mask, [0], spec_augment=0.4)
        without, _ = layers.states(inputs, mask, [0])
        assert torch.equal(plain[0], without[0])
    layers.train(True)
    torch.manual_seed(4)
    first, frame_mask = layers.states(inputs, mask, [0], spec_augment=0.4)
    torch.manual_seed(4)
    second, _ = layers.states(inputs, mask, [0], spec_augment=0.4)
    torch.testing.assert_close(first[0], second[0])
    changed = (first[0] - without[0]).abs().amax(dim=-1)[frame_mask] > 1e-4
    assert changed.any()


def test_unknown_families_are_said_to_be_none():
    encoder = encoder_of("bert")
    encoder.config.is_decoder = True
    assert EncoderLayers.of(encoder) is None
    adapted = Wav2Vec2Model(Wav2Vec2Config(**WAVE, **POSITIONS, add_adapter=True, output_hidden_size=WIDTH))
    assert EncoderLayers.of(adapted) is None
