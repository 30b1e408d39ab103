"""Finding a text encoder: on the Hub, in a folder, or inside an installed package."""

import importlib.util
import os
from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoConfig
from transformers import AutoModel
from transformers import AutoTokenizer
from transformers import PreTrainedConfig
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from ..hub_access import reach_hub

_PACKAGE = "package:"


def encoder_location(name: str, setting: str = "text_model_name") -> str:
    """Where an encoder lies: a Hub id as it is, a folder, or `package:NAME/FOLDER` of an installed package.

    Args:
        setting: that names it, for the message.

    Raises InputError where the package is not installed or holds no such folder.
    """
    if not name.startswith(_PACKAGE):
        return name
    package, _, folder = name.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{setting}={name!r}: the package {package!r} is not installed; install it (pip install "
            f"{package.replace('_', '-')}), or name an encoder on the Hub or a folder"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / folder
    if not path.is_dir():
        raise InputError(f"{setting}={name!r}: the package {package!r} holds no folder {folder!r}")
    return str(path)


def public_name(name: str) -> str:
    """The name as it may stand in a shared file: the last part of a local path, anything else as it is."""
    return Path(name).name if os.path.isdir(name) or os.path.isabs(name) else name


def _from_pretrained(auto_class, name: str, what: str):
    location = encoder_location(name)
    if not os.path.isdir(location):
        reach_hub(name)
    try:
        return auto_class.from_pretrained(location)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise InputError(
            f"text_model_name={name!r}: its {what} could not be loaded ({str(error).splitlines()[0]}). It can be the "
            "id of an encoder on the Hub (where that can be reached, or is in the cache), a folder that "
            "save_pretrained wrote, or package:NAME/FOLDER"
        ) from error


def load_encoder_config(name: str) -> PreTrainedConfig:
    """The encoder's configuration. Raises InputError where there is none to be had, or it is no text encoder's."""
    config = _from_pretrained(AutoConfig, name, "configuration")
    if config.is_encoder_decoder or not hasattr(config, "hidden_size") or not hasattr(config, "vocab_size"):
        raise InputError(
            f"text_model_name={name!r}: a {config.model_type} model is no text encoder; name one like BERT "
            "(DistilBERT, RoBERTa, MPNet and their kin)"
        )
    return config


def load_encoder(name: str) -> PreTrainedModel:
    """The encoder with its weights in float32, in evaluation mode. Raises InputError where it can't be loaded."""
    return _from_pretrained(AutoModel, name, "weights").float().eval()


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The encoder's tokenizer. Raises InputError where it can't be loaded."""
    tokenizer = _from_pretrained(AutoTokenizer, name, "tokenizer")
    # transformers makes an empty one for a folder without tokenizer files: it would read every word as unknown.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(
            f"text_model_name={name!r}: its tokenizer has no vocabulary; add the tokenizer's files, such as "
            "tokenizer.json, to the encoder's"
        )
    return tokenizer


def position_limit(config: PreTrainedConfig) -> int | None:
    """The longest input that the encoder takes, in tokens; None where its positions are not limited.

    RoBERTa and MPNet count positions from the padding token's id on, so that theirs is shorter than their table.
    """
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limit -= 2
    return limit


def check_max_length(name: str, config: PreTrainedConfig, max_length: int) -> None:
    """Raises InputError where `text_max_length` is more than the encoder takes."""
    limit = position_limit(config)
    if limit is not None and max_length > limit:
        raise InputError(
            f"text_max_length={max_length} is more than the encoder {name!r} takes: at most {limit} tokens"
        )
