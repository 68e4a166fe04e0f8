"""A program that asks llama.cpp about a GGUF file: questions are JSON on standard input, see
`readers.ask_llama_cpp`.

Nothing of hanji is imported. llama.cpp is asked through its server, on the loopback interface: nothing else
in its Python package cuts text into tokens.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

_F32 = 0
"""ggml's number of the type, for a cache that rounds nothing."""


class Server:
    """llama.cpp's own server, one request at a time.

    Args:
        context: tokens of the longest row.
    """

    def __init__(self, file: str, context: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = file
        params.n_ctx = context
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(_F32)
        params.flash_attn_type = xllamacpp.llama_flash_attn_type(0)
        if threads := os.environ.get("OMP_NUM_THREADS", ""):  # its threads wait in loops, and slow each other
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
        params.warmup = False
        params.fit_params = False
        params.verbosity = 0
        self._server = xllamacpp.Server(params)
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.version = xllamacpp.__version__

    def ask(self, path: str, question: Mapping[str, Any]) -> Any:
        """The server's answer."""
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
        )
        with self._open(request) as answer:
            return json.loads(answer.read())

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        """A text's tokens; `special` where control tokens in it are meant as such."""
        asked = {"content": text, "add_special": True, "parse_special": special}
        found: list[int] = self.ask("/tokenize", asked)["tokens"]
        return found

    def chat(self, messages: list[dict[str, str]]) -> list[int]:
        """A chat's tokens, an answer opened; none where the template cannot be rendered."""
        try:
            written = self.ask("/apply-template", {"messages": messages})["prompt"]
        except urllib.error.HTTPError:
            return []
        return self.ids(written, special=True)

    def answer(self, prompt: list[int], new_tokens: int) -> list[int]:
        """The most probable continuation."""
        found: list[int] = self._complete(prompt, n_predict=new_tokens)["tokens"]
        return found

    def probabilities(self, prompt: list[int], most: int, whole: int) -> list[tuple[int, float]]:
        """The most probable next tokens, as id and log probability.

        Args:
            whole: a token of whole characters. It is made the answer, which changes no probability: after
                a part of a character, or an end, the server would tell none.
        """
        answer = self._complete(prompt, n_predict=1, n_probs=most, logit_bias=[[whole, 1000.0]])
        (step,) = answer["completion_probabilities"]
        return [(top["id"], top["logprob"]) for top in step["top_logprobs"]]

    def _complete(self, prompt: list[int], **options: Any) -> Any:
        greedy = {"temperature": 0.0, "top_k": 1, "repeat_penalty": 1.0, "cache_prompt": False}
        return self.ask("/completion", {"prompt": prompt, "return_tokens": True, **greedy, **options})


def main(file: str) -> None:
    """Reads questions, prints answers."""
    asked = json.load(sys.stdin)
    longest = max(map(len, asked["prompts"]), default=0)
    new, most = asked["new_tokens"], asked["probabilities"]
    server = Server(file, longest + new + 8)
    reply = {
        "version": server.version,
        "ids": [server.ids(text) for text in asked["texts"]],
        "chats": [server.chat(messages) for messages in asked["chats"]],
        "answers": [server.answer(prompt, new) for prompt in asked["prompts"] if new],
        "probabilities": [server.probabilities(p, most, asked["whole"]) for p in asked["prompts"] if most],
    }
    print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
