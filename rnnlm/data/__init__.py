"""Read texts in numpy: corpora, vocabularies, splits and windows."""
