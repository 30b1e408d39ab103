import dataclasses

from transformers import TrainingArguments

from emomm.settings import training_arguments as argument_kinds
from emomm.settings.training_arguments import training_argument_kinds
from emomm.settings.values import describe


def test_the_source_says_what_the_class_has():
    """Every field, and what each allows; a later transformers must not go by unnoticed."""
    real = {field.name: field.type for field in dataclasses.fields(TrainingArguments)}
    read = argument_kinds._read()
    assert list(read) == list(real)
    for name in real:
        assert describe(read[name], {}) == describe(real[name], {}), name
    assert "adamw_torch" in describe(read["optim"], {})


def test_a_source_that_says_something_else_is_not_relied_on(monkeypatch):
    monkeypatch.setattr(argument_kinds, "_ENUM_FILES", ("training_args.py",))  # lacks the enums of other files
    training_argument_kinds.cache_clear()
    try:
        assert training_argument_kinds()["max_grad_norm"] is float
        assert training_argument_kinds() == {f.name: f.type for f in dataclasses.fields(TrainingArguments)}
    finally:
        training_argument_kinds.cache_clear()
