"""The few types that every folder shares: rows of tokens, batches, losses, protocols, errors."""
