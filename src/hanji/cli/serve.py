"""`hanji serve`: models over HTTP, as OpenAI's clients know it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanji.cli.console import messages
from hanji.cli.loading import Device, locate
from hanji.cli.options import RUNS, Runs

if TYPE_CHECKING:
    import socket

    from hanji.serving.engines.engine import Engine, Setup, Source
    from hanji.serving.limits import Limits
    from hanji.serving.models import Start
    from hanji.serving.service import Service
    from hanji.storage.database import Database

GIB = 2**30


def serve(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Models: artifacts (recipe/stage or stage), aliases, directories, hub ids, .gguf files.",
        ),
    ],
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="hanji|vllm|llama.cpp", help="Who computes: docs/guides/serve.md."),
    ] = "hanji",
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            "--engine-option", metavar="NAME=VALUE",
            help="An option of the engine, by its own name: compiled=true, tensor_parallel_size=4.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    slots: Annotated[int, typer.Option("--slots", min=1, help="Answers of a model at a time.")] = 16,
    context: Annotated[
        int | None,
        typer.Option(
            "--context", min=2, show_default="what the model reads and the memory holds",
            help="Tokens of a prompt and its answer.",
        ),
    ] = None,
    cache_gib: Annotated[
        float | None,
        typer.Option(
            "--cache-gib", min=0.01, show_default="2; of vLLM, what it finds",
            help="Memory for a model's keys and values.",
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", min=0, help="Answers of a model that may wait for a slot.")
    ] = 64,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout-seconds", min=0.1, help="Longest time for a request.")
    ] = 600.0,
    drain_seconds: Annotated[
        float, typer.Option("--drain-seconds", min=1, help="Given to answers on their way at the end.")
    ] = 30.0,
    max_body_mib: Annotated[
        float, typer.Option("--max-body-mib", min=0.001, help="Largest body of a request.")
    ] = 8.0,
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling", metavar="mean|cls|last", show_default="mean for encoders, last for decoders",
            help="How an embedding comes from a text's tokens.",
        ),
    ] = None,
    keys: Annotated[
        bool | None,
        typer.Option(
            "--keys/--no-keys", show_default="keys, unless only this machine reaches the address",
            help="Whether an API key is wanted (hanji keys).",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name that this service is called by."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Whether there is a chat page, at /.")
    ] = True,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Keep requests and answers in the database.")
    ] = False,
    retention_days: Annotated[
        float | None,
        typer.Option("--retention-days", min=0.01, help="Delete what was kept after so many days."),
    ] = None,
    device: Device = "auto",
    runs: Runs = RUNS,
) -> None:  # fmt: skip
    """See `cli.app.VERBS`."""
    from hanji.contracts.errors import ConfigError
    from hanji.serving import server
    from hanji.serving.app import create_app
    from hanji.serving.engines.engine import Setup
    from hanji.serving.limits import Limits
    from hanji.serving.models import POOLINGS, Settings
    from hanji.serving.own_thread import in_own_thread
    from hanji.storage.database import Database
    from hanji.storage.location import database_url

    if pooling is not None and pooling not in POOLINGS:
        raise ConfigError(
            "There is no such pooling", where="--pooling", value=pooling, expected=", ".join(POOLINGS)
        )
    if retention_days is not None and not log_requests:
        raise ConfigError("Nothing is kept", where="--retention-days", hint="add --log-requests")
    settings = Settings(slots, context, None if cache_gib is None else int(cache_gib * GIB), pooling)
    setup = Setup(settings, queue, _device(engine, device), options_of(engine_option or ()))
    limits = Limits(
        body_bytes=int(max_body_mib * 2**20), queue=queue, seconds=timeout_seconds,
        drain_seconds=drain_seconds,
    )  # fmt: skip
    is_private = server.is_loopback(host)
    hosts = server.LOOPBACK_NAMES | {name.lower() for name in allow_host or ()}
    bound = server.listen(host, port)
    with bound, Database.open(database_url(runs)) as database:
        sources = in_own_thread(lambda: Sources(names, runs, engine, setup, database))
        service = sources.service(limits)
        if not is_private if keys is None else keys:
            sources.want_keys(service)
        service.hosts = frozenset(hosts) if is_private and service.keys is None else None
        if log_requests:
            sources.log_requests(service, retention_days)
        app = create_app(service)
        if page:
            from hanji.studio.pages import add_pages

            add_pages(app)
        server.serve(app, bound, drain_seconds, lambda: _say(bound, service, page))


def options_of(written: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` each; a value is JSON where it can be read so, else text.

    Raises:
        ConfigError: one is of another form, or is given twice.
    """
    from hanji.contracts.errors import ConfigError

    options: dict[str, Any] = {}
    for one in written:
        name, mark, value = one.partition("=")
        if not mark or not name or name in options:
            raise ConfigError(
                "An option is said once, by name and value", where="--engine-option", value=one,
                expected="NAME=VALUE",
            )  # fmt: skip
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _device(engine: str, named: str) -> str | None:
    """Where our engine computes; another one finds out by itself, unless it is told and refuses."""
    if engine != "hanji":
        return None if named == "auto" else named
    from hanji.recipes.device import choose_device

    return choose_device(named)


class Sources:
    """Where the models come from that are served.

    Raises:
        HanjiError: nothing loadable is called so, two are called the same, or a limit is out of its range.
    """

    def __init__(self, names: list[str], runs: Path, engine: str, setup: Setup, database: Database) -> None:
        from hanji.contracts.errors import ConfigError
        from hanji.serving.engines import ENGINES
        from hanji.serving.models import Models
        from hanji.storage.aliases import Aliases

        self._runs, self._setup = runs, setup
        self._engine: Engine = ENGINES.load(engine)
        self._database, self._aliases = database, Aliases(database)
        known = {alias: found.artifact for alias, found in self._aliases.current().items()}
        self._standing = {name: known[name] for name in names if name in known}
        called: dict[str, str] = {}
        for name in names:
            own = name if name in known or not Path(name).exists() else Path(name).resolve().name
            if own in called:
                raise ConfigError("Two models cannot be called the same", where="NAME", value=own)
            called[own] = name
        shared = self._shared({own: name for own, name in called.items() if name not in known})
        starts: dict[str, Start] = {}
        for own, name in called.items():
            if own in shared:
                starts |= self._starts(own, locate(name, runs), shared[own])
            elif not any(own in adapters for adapters in shared.values()):
                starts[own] = self._load(own, self._standing.get(name), name)
        self.models = Models(starts)

    def service(self, limits: Limits) -> Service:
        """A service of these models, which follows the aliases among them."""
        from hanji.serving.chores import FollowAliases
        from hanji.serving.service import Service
        from hanji.storage.feedback import FeedbackBook

        service = Service(self.models, limits, feedback=FeedbackBook(self._database))
        if self._standing:
            service.chores = [FollowAliases(self.models, self._aliases, self._standing, self._load)]
        return service

    def want_keys(self, service: Service) -> None:
        """Lets in only who has a key."""
        from hanji.serving.chores import NoteKeys
        from hanji.storage.keys import Keys

        service.keys = Keys(self._database)
        service.chores = [*service.chores, NoteKeys(service.keys)]
        if not any(key.revoked is None for key in service.keys.all()):
            messages().print("[yellow]There are no keys yet:[/] hanji keys create NAME")

    def log_requests(self, service: Service, retention_days: float | None) -> None:
        """Keeps what is asked and answered."""
        from hanji.serving.journal import Journal
        from hanji.storage.request_log import RequestLog

        service.journal = Journal(RequestLog(self._database), retention_days, service.metrics.log_lost)

    def _shared(self, called: dict[str, str]) -> dict[str, dict[str, str]]:
        """Which of these models are bases of which adapters among them: name → names and directories."""
        from hanji.artifacts.models import base_of, head_in, is_added
        from hanji.generation.adapters.files import read_config, why_alone

        places = {own: locate(name, self._runs) for own, name in called.items()}
        whole = {Path(place).resolve(): own for own, place in places.items() if not is_added(place)}
        shared: dict[str, dict[str, str]] = {}
        for own, place in places.items():
            if not is_added(place) or head_in(place) != "causal":
                continue
            about = base_of(Path(place))
            base = whole.get(Path(about.place(Path(place))).resolve())
            quantised = about.quantization is not None
            if base is not None and why_alone(read_config(Path(place)), bool(about.new), quantised) is None:
                shared.setdefault(base, {})[own] = place
        return shared

    def _load(self, called: str, artifact: str | None, name: str | None = None) -> Start:
        """Loads a model, so that it can answer to `called`."""
        place = str(self._runs / artifact) if artifact is not None else locate(name or called, self._runs)
        return self._starts(called, place, {})[called]

    def _starts(self, called: str, place: str, adapters: Mapping[str, str]) -> dict[str, Start]:
        """How a model, and the adapters over it, come to answer; a spinner turns meanwhile on a terminal."""
        over = {own: self._source(own, where) for own, where in adapters.items()}
        console = messages()
        with console.status(f"loading {called}") if console.is_terminal else nullcontext():
            return self._engine(self._source(called, place), over, self._setup)

    def _source(self, called: str, place: str) -> Source:
        from hanji.serving.engines.engine import Source

        return Source(called, place, self._told(place, called))

    def _told(self, source: str, called: str) -> str:
        """The artifact that lies there, or the name."""
        place, root = Path(source).resolve(), self._runs.resolve()
        return place.relative_to(root).as_posix() if place.is_relative_to(root) else called


def _say(bound: socket.socket, service: Service, page: bool) -> None:
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    door = "an API key is wanted" if service.keys is not None else "no key is wanted"
    names = ", ".join(service.models.names)
    messages().print(f"[bold]{names}[/] at [cyan]http://{shown}:{port}/v1[/]  [dim]{door}; Ctrl-C ends[/]")
    if page:
        messages().print(f"chat page at [cyan]http://{shown}:{port}/[/]")
