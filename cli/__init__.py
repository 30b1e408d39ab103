"""The command line: parses, and hands on."""
