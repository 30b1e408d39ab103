"""Folds, scores, intervals, tests, and the predictions file."""
