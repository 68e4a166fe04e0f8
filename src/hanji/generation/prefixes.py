"""What many prompts begin with, computed once: keys and values of whole blocks of tokens.

Blocks are those in which prompts are read, so a block that is found holds the very bits that reading it again
would give. Those that were not used for the longest time are forgotten first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from hanji.generation.decoders import States


class PrefixStore:
    """Blocks by the tokens up to their end.

    Args:
        block: tokens of a block.
        limit: bytes that are kept at most; 0 keeps nothing.
    """

    def __init__(self, block: int, limit: int) -> None:
        self.block, self.limit = block, limit
        self._blocks: OrderedDict[bytes, States] = OrderedDict()
        self.nbytes = 0

    def keys(self, ids: Sequence[int], about: str = "") -> list[bytes]:
        """A name for each whole block of a prompt that leaves a token to be read after it.

        Args:
            about: what else keys and values depend on: the adapter.
        """
        if not self.limit:
            return []
        name, names = hashlib.blake2b(about.encode(), digest_size=16).digest(), []
        for end in range(self.block, len(ids), self.block):
            tokens = np.asarray(ids[end - self.block : end], np.int64).tobytes()
            name = hashlib.blake2b(name + tokens, digest_size=16).digest()
            names.append(name)
        return names

    def find(self, key: bytes) -> States | None:
        """The block of this name, if it is still kept."""
        states = self._blocks.get(key)
        if states is not None:
            self._blocks.move_to_end(key)
        return states

    def keep(self, key: bytes, states: States) -> None:
        """Keeps a block, and forgets others where memory is short."""
        size = _nbytes(states)
        if key in self._blocks or size > self.limit:
            return
        while self.nbytes + size > self.limit:
            _, old = self._blocks.popitem(last=False)
            self.nbytes -= _nbytes(old)
        self._blocks[key] = states
        self.nbytes += size

    def clear(self) -> None:
        """Forgets everything."""
        self._blocks.clear()
        self.nbytes = 0


def _nbytes(states: States) -> int:
    return sum(tensor.numel() * tensor.element_size() for pair in states for tensor in pair)
