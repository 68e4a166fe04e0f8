"""hanji: the whole life of a language model, from a blank page to a service."""

__version__ = "0.1.0"
