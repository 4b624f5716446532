"""Rows as token ids: pieces of texts and words, sequences of them, their labels, and the store of large splits."""
