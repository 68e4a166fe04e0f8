"""Trains a tokenizer: byte-level BPE, WordPiece or Unigram, of exactly the size asked for."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from transformers import PreTrainedTokenizerFast

from hanji.contracts.errors import ConfigError, DataError
from hanji.contracts.progress import Progress, Silent
from hanji.tokenizers.chatml import END_OF_TEXT, PAD, TEMPLATE, TURN_END, TURN_START
from hanji.tokenizers.tokenizer import Tokenizer
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

Algorithm = Literal["bpe", "wordpiece", "unigram"]

PATTERNS: Final = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""How text is cut into words before merging, letter for letter as Llama 3 and Qwen2 publish it."""

_CHAT_SPECIALS: Final = (PAD, END_OF_TEXT, TURN_START, TURN_END)
_BERT_SPECIALS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MASKS: Final = ("[MASK]", "<mask>", "<|mask|>")
"""Special tokens that are taken for the mask token, without which no masked model can be trained."""
_UNKNOWN: Final = "<unk>"
_BYTES: Final = tuple(f"<0x{byte:02X}>" for byte in range(256))
_DEFAULT_MIN_FREQUENCY: Final = 2


def train_tokenizer(
    texts: Iterator[str],
    *,
    algorithm: Algorithm = "bpe",
    vocab_size: int,
    pattern: str = "llama3",
    special_tokens: Sequence[str] = (),
    min_frequency: int = _DEFAULT_MIN_FREQUENCY,
    progress: Progress | None = None,
) -> Tokenizer:
    """A tokenizer learnt from `texts`; the same texts give the same tokenizer.

    `bpe` works on bytes and `unigram` falls back to them: both can write any text, know documents and turns
    by special tokens, and carry the ChatML template. `wordpiece` is BERT's, cased, and leaves accents alone.
    It has a mask token; the others have one where `special_tokens` holds [MASK], <mask> or <|mask|>.

    Args:
        vocab_size: tokens in all, special ones included. Where the texts hold fewer, the vocabulary is what
            there is, and `progress` is told.
        pattern: of `bpe`, one of `PATTERNS`.
        special_tokens: further ones, after the usual.
        min_frequency: of `bpe` and `wordpiece`, a pair seen less often is not merged.

    Raises:
        ConfigError: for settings that cannot be met.
        DataError: where there is no text.
    """
    progress = progress or Silent()
    usual = _BERT_SPECIALS if algorithm == "wordpiece" else _CHAT_SPECIALS
    specials = [*usual, *_checked(special_tokens, usual)]
    mask = _mask_among(specials)
    counted = _Counted(texts, progress)
    if algorithm == "bpe":
        backend = _train_bpe(counted, vocab_size, specials, pattern, min_frequency)
    elif algorithm == "wordpiece":
        backend = _train_wordpiece(counted, vocab_size, specials, min_frequency)
    elif algorithm == "unigram":
        with _one_thread():
            backend = _train_unigram(counted, vocab_size, specials, min_frequency)
    else:
        raise ConfigError("unknown algorithm", value=algorithm, expected="bpe, wordpiece or unigram")
    size = backend.get_vocab_size()
    assert size <= vocab_size, f"asked for {vocab_size} tokens, made {size}"
    if size < vocab_size:
        progress.note(
            f"The text is too small for {vocab_size:,} tokens: the vocabulary has {size:,}. "
            "Give more text, or ask for fewer."
        )
    return _wrap(backend, algorithm, specials, mask)


def _train_bpe(
    texts: _Counted, vocab_size: int, specials: list[str], pattern: str, min_frequency: int
) -> Backend:
    """Merges learnt without the special tokens, which follow: no text can turn into one of those."""
    if pattern not in PATTERNS:
        raise ConfigError("unknown pattern", value=pattern, expected=f"one of {', '.join(PATTERNS)}")
    pieces = _room(vocab_size, 256 + len(specials), "256 bytes and the special tokens") + 256
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend = Backend(
        models.BPE(ignore_merges=pattern == "llama3")
    )  # as Llama 3: a whole word needs no merges
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        min_frequency=min_frequency,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    texts.check()
    return _with_specials(backend, specials)


def _train_unigram(texts: _Counted, vocab_size: int, specials: list[str], min_frequency: int) -> Backend:
    """Pieces learnt by Unigram, with 256 bytes for the characters that are not among them."""
    if min_frequency != _DEFAULT_MIN_FREQUENCY:
        raise ConfigError("unigram merges no pairs: it has no min_frequency", value=min_frequency)
    fixed = 1 + len(_BYTES) + len(specials)
    pieces = _room(vocab_size, fixed, "the unknown token, 256 bytes and the special tokens")
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n\t]+"), "isolated"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never"),
        ]
    )
    learner = Backend(models.Unigram())
    learner.pre_tokenizer = splitter
    trainer = trainers.UnigramTrainer(
        vocab_size=pieces + 1,  # it counts the unknown token
        unk_token=_UNKNOWN,
        initial_alphabet=sorted(set("".join(_BYTES) + _UNKNOWN)),
        show_progress=False,
    )
    try:
        learner.train_from_iterator(texts, trainer)
    except Exception as error:  # tokenizers raises nothing narrower
        texts.check()
        raise _no_room_for_characters(vocab_size, fixed + len(texts.characters), str(error)) from error
    texts.check()
    learnt = _settled(json.loads(learner.to_str())["model"]["vocab"])[:pieces]
    # A typed "<0x41>" must not become a byte: letter by letter is cheaper than so improbable a piece.
    improbable = 10 * min(score for _, score in learnt)
    vocabulary = [(piece, improbable) for piece in (_UNKNOWN, *_BYTES)] + learnt
    backend = Backend(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _with_specials(backend, specials)


def _settled(vocabulary: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The learnt pieces in an order and with scores that no run changes.

    The trainer hands out the lowest scores, 0.0001 apart, to characters that it kept only so that none is
    missing, in the order of a hash table; here they all get the lowest.
    """
    learnt = [(piece, score) for piece, score in vocabulary if piece != _UNKNOWN]
    lowest = min(score for _, score in learnt)

    def settle(piece: str, score: float) -> float:
        steps = (score - lowest) / 1e-4
        is_filler = len(piece) == 1 and steps < len(learnt) and abs(steps - round(steps)) < 1e-6
        return round(lowest if is_filler else score, 6)

    settled = [(piece, settle(piece, score)) for piece, score in learnt]
    return sorted(settled, key=lambda scored: (-scored[1], scored[0]))


def _train_wordpiece(texts: _Counted, vocab_size: int, specials: list[str], min_frequency: int) -> Backend:
    """BERT's, cased: accents stay, since stripping them would take Hangul syllables apart.

    The trainer numbers the letters inside words in the order of a hash table, and breaks ties by the numbers.
    So the words are counted here first, and their letters handed to it in order, as if they were special.
    """
    _room(vocab_size, len(specials), "the special tokens")
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
            ),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        normalised = backend.normalizer.normalize_str(text)
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalised))
    texts.check()
    inside = sorted({f"##{letter}" for word in words for letter in word[1:]})
    least = len(specials) + len(inside) + len(set().union(*words))
    if least > vocab_size:
        raise _no_room_for_characters(vocab_size, least, "alone and inside words")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*specials, *inside],
        show_progress=False,
    )
    backend.train_from_iterator(_repeated(words), trainer)
    description = json.loads(backend.to_str())
    description["added_tokens"] = [
        token for token in description["added_tokens"] if token["content"] in specials
    ]
    backend = Backend.from_str(json.dumps(description))
    backend.decoder = decoders.WordPiece(cleanup=False)
    opening, closing = (("[CLS]", backend.token_to_id("[CLS]")), ("[SEP]", backend.token_to_id("[SEP]")))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[opening, closing]
    )
    return backend


def _no_room_for_characters(vocab_size: int, least: int, why: str) -> ConfigError:
    return ConfigError(
        f"vocab_size has no room for every character of the text ({why})",
        value=vocab_size,
        expected=f"more than {least:,}",
        hint="Ask for more tokens, or take bpe, to which every character is bytes.",
    )


def _repeated(words: Counter[str]) -> Iterator[str]:
    for word, count in sorted(words.items()):
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))


def _with_specials(backend: Backend, specials: Sequence[str]) -> Backend:
    """Special tokens after the learnt ones, and a document that begins with <|endoftext|>."""
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT}:1 $B:1",
        special_tokens=[(END_OF_TEXT, backend.token_to_id(END_OF_TEXT))],
    )
    return backend


def _wrap(backend: Backend, algorithm: str, further: Sequence[str], mask: str | None) -> Tokenizer:
    told: dict[str, Any] = {}
    if algorithm == "wordpiece":
        pad, unknown, start, separator, _ = _BERT_SPECIALS
        names = {"pad_token": pad, "unk_token": unknown, "cls_token": start, "sep_token": separator}
        # so that BERT is told which of two texts a token belongs to
        told = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    else:
        names = {"pad_token": PAD, "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
        if algorithm == "unigram":
            names["unk_token"] = _UNKNOWN
    if mask is not None:
        names["mask_token"] = mask
    extra = [token for token in (TURN_START, TURN_END, *further) if backend.token_to_id(token) is not None]
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        extra_special_tokens=[token for token in dict.fromkeys(extra) if token not in names.values()],
        **names,
        **told,
    )
    if algorithm != "wordpiece":
        hf.chat_template = TEMPLATE
    return Tokenizer(hf)


def _checked(special_tokens: Sequence[str], usual: Sequence[str]) -> list[str]:
    for token in special_tokens:
        if not token or token.strip() != token:
            raise ConfigError("a special token must have letters, and no space around them", value=token)
    return list(dict.fromkeys(token for token in special_tokens if token not in usual))


def _mask_among(specials: Sequence[str]) -> str | None:
    """The one special token that stands for hidden ones, or None."""
    found = [token for token in specials if token in _MASKS]
    if len(found) > 1:
        raise ConfigError(
            "a tokenizer has one mask token", where="special_tokens", value=found,
            expected=f"at most one of {', '.join(_MASKS)}; wordpiece has [MASK] already",
        )  # fmt: skip
    return found[0] if found else None


def _room(vocab_size: int, fixed: int, what: str) -> int:
    if vocab_size <= fixed:
        raise ConfigError(
            "vocab_size leaves no room to learn anything",
            value=vocab_size,
            expected=f"more than {fixed} ({what})",
        )
    return vocab_size - fixed


class _Counted:
    """Hands out texts once, counts what passes, and tells of it."""

    def __init__(self, texts: Iterator[str], progress: Progress) -> None:
        self._texts = texts
        self._progress = progress
        self.seen = 0
        self.characters: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        for index, text in enumerate(self._texts):
            self.seen += len(text)
            self.characters.update(text)
            if index % 1000 == 0:
                self._progress.advance("reading text", self.seen)
            yield text
        self._progress.advance("reading text", self.seen, self.seen)

    def check(self) -> None:
        """Raises: DataError where no text came."""
        if not self.characters:
            raise DataError(
                "there is no text to train a tokenizer on", expected="texts with characters in them"
            )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of floats in one order: trained on several threads, Unigram would differ from run to run."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
