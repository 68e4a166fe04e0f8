"""The tokenizer that every stage uses: text and chats to ids and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from hanji.contracts.errors import ModelError
from hanji.contracts.frame import Frame
from hanji.contracts.protocols import EncodedChat
from hanji.tokenizers.backend import special_tokens
from hanji.tokenizers.chat import Chat, ChatEncoder
from hanji.tokenizers.collector import collector_at_rest
from hanji.tokenizers.framing import find_frame
from hanji.tokenizers.load import load_hf
from hanji.tokenizers.padding import choose_padding
from hanji.tokenizers.text import TextEncoder
from hanji.tokenizers.words import find_continuing


class Tokenizer:
    """A transformers tokenizer, with one way for each kind of row to become ids.

    Attributes:
        hf: the tokenizer underneath.
        notes: what was changed about it on the way in, in sentences.
    """

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self.hf = hf
        self.notes: tuple[str, ...] = ()
        self._pad_id, token, note = choose_padding(hf, self.eos_ids, self.chat_template or "")
        if token is not None:
            hf.pad_token = token
        if note is not None:
            self.notes = (note,)

    @classmethod
    def load(cls, source: str | Path) -> Tokenizer:
        """The tokenizer in a directory, in a `.gguf` file, or of a hub id.

        Raises:
            ModelError: where there is none.
        """
        with collector_at_rest():
            return cls(load_hf(source))

    def save(self, directory: str | Path) -> None:
        """Writes what plain `AutoTokenizer.from_pretrained` loads with the same ids."""
        self.hf.save_pretrained(str(directory))

    @property
    def bos_id(self) -> int | None:
        """The token that opens a document, where this tokenizer puts one; it stands in no other place."""
        return self._document_start

    @property
    def eos_id(self) -> int | None:
        """The token that ends a document."""
        index: int | None = self.hf.eos_token_id
        return index

    @property
    def pad_id(self) -> int:
        """The token that fills a batch up; it never ends a row."""
        return self._pad_id

    @property
    def mask_id(self) -> int | None:
        """The token that stands for a hidden one, where the tokenizer has it."""
        index: int | None = self.hf.mask_token_id
        return index

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Every special token: text is never encoded to one of them, except to the unknown token."""
        return frozenset([*self.hf.all_special_ids, *special_tokens(self.hf.backend_tokenizer).values()])

    @cached_property
    def frame(self) -> Frame:
        """The special tokens that this tokenizer puts around a text, and around two.

        Raises:
            ModelError: where they depend on the text.
        """
        return find_frame(self.hf, self.encode_texts)

    @cached_property
    def continues_word(self) -> NDArray[np.bool_]:
        """[vocabulary_size], whether a token goes on with the word of the token before it.

        The first token of a text begins a word whatever is said here.

        Raises:
            ModelError: where this kind of tokenizer does not tell.
        """
        return find_continuing(self.hf.backend_tokenizer, self.vocabulary_size)

    @property
    def eos_ids(self) -> list[int]:
        """Every token that ends an answer: the end of a turn, and of a document."""
        ids = [self._chat.end_of_turn_id if self._chat is not None else None, self.eos_id]
        return list(dict.fromkeys(index for index in ids if index is not None))

    @cached_property
    def vocabulary_size(self) -> int:
        """One more than the greatest id."""
        vocabulary: Mapping[str, int] = self.hf.get_vocab()
        return 1 + max(vocabulary.values())

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of chats without tools."""
        template: str | Mapping[str, str] | None = self.hf.chat_template
        return template.get("default") if isinstance(template, Mapping) else template

    def generation_settings(self) -> dict[str, Any]:
        """What a model's `generation_config.json` must say for its answers to end."""
        settings = {
            "bos_token_id": self.hf.bos_token_id,
            "eos_token_id": self.eos_ids,
            "pad_token_id": self.pad_id,
        }
        return {name: value for name, value in settings.items() if value not in (None, [])}

    def encode_texts(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Plain text to ids, without special tokens: ids [tokens] and lengths [texts].

        What looks like a special token in a text is text. gigatoken does it where it is installed and gives
        the same ids as tokenizers.

        Raises:
            DataError: for a text that is no Unicode.
        """
        return self._text.encode(texts)

    def encode_prompt(self, text: str) -> list[int]:
        """A text to be continued: its ids after the token that opens a document, where there is one."""
        ids: list[int] = self.encode_texts([text])[0].tolist()
        return ids if self.bos_id is None else [self.bos_id, *ids]

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> EncodedChat:
        """The one function from a chat to ids, for training, chat and server alike.

        Its ids are the chat template's, except that what looks like a control token in a message is text.

        Args:
            add_generation_prompt: ends with the opening of an answer, for a server; nothing is trained.

        Raises:
            DataError: for a chat that the template cannot write, or whose answers cannot be told apart in it.
            ModelError: where the tokenizer has no usable template.
        """
        return self.encode_chats([(messages, tools)], add_generation_prompt=add_generation_prompt)[0]

    def encode_chats(
        self, chats: Sequence[Chat], *, add_generation_prompt: bool = False
    ) -> list[EncodedChat]:
        """Many chats at once, each with its tools or None; as `encode_chat`, faster."""
        if self._chat is None:
            raise ModelError(
                "this tokenizer has no chat template",
                hint="Take the tokenizer of a chat model, or train one here (bpe or unigram).",
            )
        return self._chat.encode(chats, add_generation_prompt=add_generation_prompt)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text that `ids` stand for."""
        text: str = self.hf.backend_tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    @cached_property
    def _text(self) -> TextEncoder:
        return TextEncoder(self.hf.backend_tokenizer)

    @cached_property
    def _chat(self) -> ChatEncoder | None:
        return ChatEncoder(self.hf) if self.hf.chat_template else None

    @cached_property
    def _document_start(self) -> int | None:
        ids: list[int] = self.hf("a").input_ids
        return ids[0] if ids and ids[0] == self.hf.bos_token_id else None
