"""A tokenizer as llama.cpp holds it: tokens, their kinds, and merges or scores; exactly, or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gguf import GGUFWriter, TokenType

from hanji.contracts.errors import ConfigError
from hanji.export.subject import refuse
from hanji.tokenizers.tokenizer import Tokenizer
from hanji.tokenizers.train import PATTERNS

_SPACE: Final = "▁"
_BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: llama.cpp's algorithm: `gpt2`, byte-level BPE, or `llama`, SentencePiece's BPE.
        way: its name for how text is cut before merging.
        tokens: by id, padding to the size of the embedding included. `kinds`: of each.
        merges: of byte-level BPE, in order. `scores`: of SentencePiece's, by id.
        ids: special tokens by llama.cpp's names.
        adds_start: whether a text begins with the start token. `adds_end`: and ends with the end token.
        adds_space: whether a space is put before a text.
        template: of chats.
        notes: what is not quite the same there.
    """

    model: str
    way: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    ids: Mapping[str, int]
    adds_start: bool
    adds_end: bool
    adds_space: bool = False
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    template: str | None = None
    notes: Sequence[str] = field(default_factory=list)

    @classmethod
    def of(cls, tokenizer: Tokenizer, size: int) -> Vocabulary:
        """That of `tokenizer`, for an embedding of `size` rows.

        Raises:
            ConfigError: llama.cpp would cut some text otherwise; which part of the tokenizer it is.
        """
        described = json.loads(tokenizer.hf.backend_tokenizer.to_str())
        model = described["model"]
        if model["type"] != "BPE":
            raise _refused(
                f"llama.cpp has no {model['type']} that gives the same tokens", model["type"],
                "byte-level BPE, or SentencePiece's BPE with bytes for unknown characters",
            )  # fmt: skip
        for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(option):
                raise _refused(f"llama.cpp's BPE has no {option}", model[option], "none")
        if size < tokenizer.vocabulary_size:
            raise _refused(
                "the tokenizer has more tokens than the model's embedding", tokenizer.vocabulary_size,
                f"at most {size}",
            )  # fmt: skip
        tokens, kinds = _tokens(described, size, tokenizer)
        start, end = _frame(tokenizer)
        shared: dict[str, Any] = {
            "tokens": tokens, "kinds": kinds, "ids": _ids(tokenizer), "adds_start": start,
            "adds_end": end, "template": _plain_template(tokenizer.chat_template),
        }  # fmt: skip
        merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        if model.get("byte_fallback"):
            space = _space_before(described)
            scores = _scores(model["vocab"], merges, len(tokens))
            return cls(model="llama", way="default", scores=scores, adds_space=space, **shared)
        way, notes = _way(described)
        return cls(model="gpt2", way=way, merges=[f"{a} {b}" for a, b in merges], notes=notes, **shared)

    def write(self, writer: GGUFWriter) -> None:
        """Into the head of a file."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.way)
        writer.add_token_list(list(self.tokens))
        writer.add_token_types(list(self.kinds))
        if self.merges:
            writer.add_token_merges(list(self.merges))
        if self.scores:
            writer.add_token_scores(list(self.scores))
        for name, index in self.ids.items():
            getattr(writer, f"add_{name}_token_id")(index)
        writer.add_add_bos_token(self.adds_start)
        writer.add_add_eos_token(self.adds_end)
        writer.add_add_space_prefix(self.adds_space)
        if self.template is not None:
            writer.add_chat_template(self.template)


def _refused(problem: str, value: Any, expected: str) -> ConfigError:
    return refuse(
        f"the tokenizer cannot be said in GGUF: {problem}", value=value, expected=expected,
        hint="export with --to merged: there the tokenizer stays as it is",
    )  # fmt: skip


def _tokens(described: Any, size: int, tokenizer: Tokenizer) -> tuple[list[str], list[int]]:
    """Tokens by id, and what each is."""
    names: dict[int, str] = {index: token for token, index in described["model"]["vocab"].items()}
    kinds: dict[int, int] = dict.fromkeys(names, TokenType.NORMAL)
    if described["model"].get("byte_fallback"):
        kinds |= {index: TokenType.BYTE for index, token in names.items() if _BYTE.fullmatch(token)}
    for added in described["added_tokens"]:
        for option in ("single_word", "lstrip", "rstrip"):
            if added[option]:
                raise _refused(f"llama.cpp knows no {option}", added["content"], "a token without it")
        names[added["id"]] = added["content"]
        kinds[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    unknown = tokenizer.hf.unk_token_id
    if unknown is not None and described["model"].get("unk_token") == names.get(unknown):
        kinds[unknown] = TokenType.UNKNOWN
    tokens = [names.get(index, f"[PAD{index}]") for index in range(size)]
    return tokens, [int(kinds.get(index, TokenType.UNUSED)) for index in range(size)]


def _frame(tokenizer: Tokenizer) -> tuple[bool, bool]:
    """Whether the start token comes before a text and the end token after it; nothing else may."""
    frame = tokenizer.frame
    before, after = list(frame.before), list(frame.after)
    if before not in ([], [tokenizer.hf.bos_token_id]) or after not in ([], [tokenizer.hf.eos_token_id]):
        raise _refused(
            "other special tokens than a start and an end token stand around a text",
            tokenizer.hf.convert_ids_to_tokens([*before, *after]),
            "bos_token before, eos_token after, or nothing",
        )
    return bool(before), bool(after)


def _ids(tokenizer: Tokenizer) -> dict[str, int]:
    hf = tokenizer.hf
    found = {
        "bos": hf.bos_token_id, "eos": hf.eos_token_id, "unk": hf.unk_token_id, "pad": tokenizer.pad_id,
        "mask": hf.mask_token_id,
    }  # fmt: skip
    turn_end = next(iter(tokenizer.eos_ids), None)
    if turn_end != hf.eos_token_id:
        found["eot"] = turn_end
    return {name: index for name, index in found.items() if index is not None}


def _plain_template(template: str | None) -> str | None:
    """Without the marks of what an assistant says, which training needs and llama.cpp does not know."""
    if template is None:
        return None
    opened = re.sub(r"(\{%-?\s*)generation(\s*-?%\})", r"\1if true\2", template)
    return re.sub(r"(\{%-?\s*)endgeneration(\s*-?%\})", r"\1endif\2", opened)


def _way(described: Any) -> tuple[str, list[str]]:
    """llama.cpp's name for how text is cut before byte-level merging, and what it leaves out."""
    notes: list[str] = []
    normalizer = described["normalizer"]
    if normalizer is not None and normalizer["type"] == "NFC":
        notes.append("llama.cpp does not compose characters (NFC): text in another form becomes other tokens")
    elif normalizer is not None:
        raise _refused("llama.cpp changes no text before it cuts it", normalizer["type"], "no normalizer")
    parts = described["pre_tokenizer"] or {"type": "none"}
    steps = parts["pretokenizers"] if parts["type"] == "Sequence" else [parts]
    found = _named_way([_step(step) for step in steps], bool(described["model"].get("ignore_merges")))
    if found is None:
        raise _refused(
            "llama.cpp has no name for how it cuts text before merging",
            json.dumps(described["pre_tokenizer"], ensure_ascii=False),
            "the patterns of Llama 3, Qwen2, GPT-2 or SmolLM",
        )
    return found, notes


def _step(step: Mapping[str, Any]) -> tuple[Any, ...]:
    """A pre-tokenizer, as far as it matters here."""
    if step["type"] == "Split":
        return ("split", step["pattern"].get("Regex"), step["behavior"], step["invert"])
    if step["type"] == "ByteLevel":
        return ("bytes", step["use_regex"], step["add_prefix_space"])
    return (step["type"].lower(), step.get("individual_digits"))


def _named_way(steps: list[tuple[Any, ...]], whole_words: bool) -> str | None:
    def cut(pattern: str) -> list[tuple[Any, ...]]:
        return [("split", PATTERNS[pattern], "Isolated", False), ("bytes", False, False)]

    gpt2 = ("bytes", True, False)
    known = [
        ("llama-bpe", cut("llama3"), True),
        ("smaug-bpe", cut("llama3"), False),
        ("qwen2", cut("qwen2"), False),
        ("gpt-2", [gpt2], False),
        ("smollm", [("digits", True), gpt2], False),
    ]
    return next((name for name, way, whole in known if way == steps and whole == whole_words), None)


def _space_before(described: Any) -> bool:
    """Whether SentencePiece's way puts a space before a text."""
    normalizer, cutting = described["normalizer"], described["pre_tokenizer"]
    steps = (normalizer or {}).get("normalizers") or ([normalizer] if normalizer else [])
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prepends = {"type": "Prepend", "prepend": _SPACE}
    if cutting is None and steps in ([replaces], [prepends, replaces]):
        return len(steps) == 2
    if not steps and cutting and cutting["type"] == "Metaspace" and not cutting["split"]:
        return bool(cutting["prepend_scheme"] != "never")
    raise _refused(
        "llama.cpp's SentencePiece does not change and cut text so", [normalizer, cutting],
        "spaces become ▁, one may come before the text, and nothing is cut",
    )  # fmt: skip


def _scores(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, ...]], size: int) -> list[float]:
    """llama.cpp merges the pair whose token has the highest score; this says its rank among the merges.

    That is the same only where each token is made by one run of merges, and by every pair that spells it.
    """
    ranks: dict[str, int] = {}
    last = None
    for first, second in merges:
        token = first + second
        if token != last and token in ranks:
            raise _refused("its merges have no order that scores can tell", token, "merges token by token")
        ranks.setdefault(token, len(ranks))
        last = token
    pairs = set(merges)
    for token in vocabulary:
        for cut in range(1, len(token)):
            pair = (token[:cut], token[cut:])
            if pair not in pairs and all(_can_stand(part, vocabulary, ranks) for part in pair):
                raise _refused(
                    "llama.cpp would merge a pair that it does not", pair, "a merge for every pair"
                )
    scores = [0.0] * size
    for token, rank in ranks.items():
        scores[vocabulary[token]] = -float(rank)
    return scores


def _can_stand(part: str, vocabulary: Mapping[str, int], ranks: Mapping[str, int]) -> bool:
    return part in vocabulary and (len(part) == 1 or part in ranks)
