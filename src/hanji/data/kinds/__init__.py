"""Kinds of rows: texts, chats, labelled texts, preferences.

A new kind is a file in this folder, its columns in `SCHEMAS` of `data/shards.py`, and a line in `ROW_FORMATS`
of `data/rows.py` for each form in which it is found.
"""
