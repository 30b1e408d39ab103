"""Recordings become voice features."""
