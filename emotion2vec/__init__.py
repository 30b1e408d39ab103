"""Converting the published emotion2vec checkpoints."""
