"""A finished job as a page, figures and tables. Nothing here trains or reads features."""
