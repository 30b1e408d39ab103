"""Rooms around recordings: reading audio, extraction, release folders, live use, and the demo."""
