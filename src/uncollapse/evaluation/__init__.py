"""Tasks on your own files, scored by length, with intervals and paired tests."""
