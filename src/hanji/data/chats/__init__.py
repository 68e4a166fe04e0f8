"""Chat formats and their conversion: a new one is a file in this folder and one line in `ROW_FORMATS`."""
