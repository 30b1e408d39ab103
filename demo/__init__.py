"""The demo's page and the Space that shows it."""
