"""One file for each endpoint, or for a few that are alike."""
