"""Migrations, run by alembic; `versions/NNNN_NAME.py` takes the database from NNNN - 1 to NNNN.

Each says in plain words what it changes, and imports nothing of ours: tables change, migrations do not. A
test compares what they make with the tables in the code, and says what the next one must do.
"""
