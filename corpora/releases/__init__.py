"""The parsers of the labs' own release folders, one module a corpus; `release_folders` is the way in."""
