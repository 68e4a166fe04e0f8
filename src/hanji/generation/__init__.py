"""Text from a model: the engine, whole answers, and the probabilities of the next token."""

from hanji.generation.answers import Generation, generate
from hanji.generation.engine import Engine
from hanji.generation.handles import Handle
from hanji.generation.probabilities import NextToken, next_token_probabilities
from hanji.generation.requests import Answer, Piece, Request, TokenLogprob
from hanji.generation.sampling import Sampling
from hanji.generation.text import TextDecoder

__all__ = [
    "Answer",
    "Engine",
    "Generation",
    "Handle",
    "NextToken",
    "Piece",
    "Request",
    "Sampling",
    "TextDecoder",
    "TokenLogprob",
    "generate",
    "next_token_probabilities",
]
