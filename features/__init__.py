"""Vectors of rows, and states of frozen encoders."""
