"""Ours beside a peer, in one run, interleaved. See README.md."""
