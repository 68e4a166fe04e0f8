"""Forms of chats and preferences: a new one is a file in this folder and a line in `ROW_FORMATS`."""
