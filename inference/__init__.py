"""An exported model at work: predictions of corpora and recordings, and live."""
