"""Audits: what a corpus or a split gives away, before anything is trained on it."""
