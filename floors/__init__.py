"""What a model must beat to be worth its training, computed on the same folds and training rows."""
