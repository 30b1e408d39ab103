"""What the fork server of `small_jobs` imports once for all the processes that it starts."""

import gc

import conftest  # noqa: F401 makes the package importable
import sklearn.linear_model  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401

import emomm.experiments.job  # noqa: F401

gc.collect()
gc.freeze()  # a collection in a process then doesn't walk, and so copy, all that was imported
