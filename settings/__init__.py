"""A recipe becomes checked settings."""
