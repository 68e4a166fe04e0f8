"""Tokenizers: trained or taken, text and chats to ids, and how well they fit each script."""
