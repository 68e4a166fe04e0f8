"""Text from a model: whole answers, pieces as they come, and the probabilities of the next token."""

from hanji.generation.answers import Generation, TextDecoder, generate
from hanji.generation.pieces import stream
from hanji.generation.probabilities import NextToken, next_token_probabilities

__all__ = ["Generation", "NextToken", "TextDecoder", "generate", "next_token_probabilities", "stream"]
