"""`hanji chat`: talk to a model. On a terminal turn by turn; from a pipe, each line is a question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from hanji.cli.console import messages, show_error
from hanji.cli.loading import Device, Name, load
from hanji.cli.options import RUNS, Runs
from hanji.contracts.errors import HanjiError, ModelError

if TYPE_CHECKING:
    from hanji.generation import Engine, Sampling
    from hanji.tokenizers.tokenizer import Tokenizer

COMMANDS = "/reset begins anew · /quit ends · Ctrl-C stops an answer"


def chat(
    name: Name,
    system: Annotated[
        str | None, typer.Option("--system", help="What the model is told before the first question.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")
    ] = 512,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Randomness; 0 takes the most probable token.")
    ] = 0.0,
    top_k: Annotated[
        int, typer.Option("--top-k", min=0, help="Sample from so many most probable tokens; 0: from all.")
    ] = 0,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0, max=1, help="Sample from tokens of so much probability.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Where the randomness comes from.")] = 0,
    device: Device = "auto",
    runs: Runs = RUNS,
) -> None:
    """See `cli.app.VERBS`."""
    model, tokenizer = load(name, runs, device)
    if tokenizer.chat_template is None:
        raise ModelError(
            "This model has no chat template: it continues text, and was not taught to answer",
            value=name,
            hint=f'fine-tune it on chats, or try: hanji predict {name} "Once upon a time"',
        )
    from hanji.generation import Engine, Sampling

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    with Engine(model, tokenizer, slots=1) as engine:
        talk = Conversation(engine, tokenizer, system, sampling, max_new_tokens)
        _hold(talk, name)


def _hold(talk: Conversation, name: str) -> None:
    if sys.stdin.isatty():
        messages().print(f"[bold]{name}[/]  [dim]{COMMANDS}[/]")
        _talk(talk)
    else:
        for line in sys.stdin:
            if not _obey(line.strip(), talk):
                break


@dataclass
class Conversation:
    """What was said so far, and who answers.

    Attributes:
        engine: what was read of the conversation before is not read again.
        sampling: its seed is that of the first answer; each further one has the next.
    """

    engine: Engine
    tokenizer: Tokenizer
    system: str | None
    sampling: Sampling
    max_new_tokens: int
    turns: list[dict[str, str]] = field(default_factory=list)

    def reset(self) -> None:
        """Forgets everything but the system prompt."""
        self.turns.clear()

    def answer(self, question: str) -> Iterator[str]:
        """The answer in pieces. What was shown of it stays in the conversation, even where it was stopped.

        Raises:
            HanjiError: the chat does not fit the template or the context; the question is then forgotten.
        """
        from hanji.generation import Request

        asked = [*self.turns, {"role": "user", "content": question}]
        opening = [{"role": "system", "content": self.system}] if self.system else []
        request = Request(
            prompt=self.tokenizer.encode_chat([*opening, *asked], add_generation_prompt=True).ids.tolist(),
            sampling=replace(self.sampling, seed=self.sampling.seed + len(self.turns) // 2),
            max_new_tokens=self.max_new_tokens,
        )
        said: list[str] = []
        pieces = self.engine.stream(request)
        try:
            for piece in pieces:
                said.append(piece.text)
                yield piece.text
                if piece.finish_reason == "length":
                    messages().print(
                        "\n[dim](cut off: --max-new-tokens, or the model's context, is reached)[/]", end=""
                    )
        finally:
            pieces.close()
            if any(said):
                self.turns = [*asked, {"role": "assistant", "content": "".join(said)}]


def _talk(talk: Conversation) -> None:
    """Turn by turn on a terminal, until the person has enough."""
    import readline  # noqa: F401 - gives input() a history and the arrow keys

    while True:
        try:
            line = input("\001\033[1;36m\002you ›\001\033[0m\002 ").strip()
        except (EOFError, KeyboardInterrupt):
            messages().print()
            return
        try:
            if not _obey(line, talk):
                return
        except KeyboardInterrupt:
            messages().print("\n[dim](stopped)[/]")
        except HanjiError as error:
            show_error(error)


def _obey(line: str, talk: Conversation) -> bool:
    """Follows a command or prints an answer to standard output; False where the talk shall end."""
    if line in ("/quit", "/exit"):
        return False
    if line == "/reset":
        talk.reset()
        messages().print("[dim](a new conversation)[/]")
    elif line:
        for piece in talk.answer(line):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()
    return True
