"""Any corpus, from anywhere, becomes a `Corpus`."""
