"""The two sides of each benchmark: programs that load, prove they do the same work, and run when asked."""
