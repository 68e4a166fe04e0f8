"""`hanji serve` as replicas on a Ray cluster: RAY_SERVE_MODELS=support serve run deploy.ray_serve:application

Every machine has hanji and `ray[serve]` installed, and sees the same workspace (HANJI_RUNS) and the same
database (HANJI_DATABASE_URL). Ray starts, watches and scales the replicas and sends each request to the least
busy one; the API, the keys and the feedback are those of `hanji serve`. docs/guides/deploy.md says what was
tried.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from ray import serve

SLOTS = 16
QUEUE = 64


def build() -> FastAPI:
    """The application of one replica, made where the replica runs."""
    from hanji.cli.serve import Sources
    from hanji.serving.app import create_app
    from hanji.serving.engines.engine import Setup
    from hanji.serving.limits import Limits
    from hanji.serving.models import Settings
    from hanji.storage.database import Database
    from hanji.storage.location import database_url

    runs = Path(os.environ.get("HANJI_RUNS", "runs"))
    database = Database.open(database_url(runs))
    names = os.environ["RAY_SERVE_MODELS"].split(",")
    setup = Setup(Settings(slots=SLOTS), QUEUE, os.environ.get("HANJI_DEVICE", "cpu"))
    sources = Sources(names, runs, os.environ.get("HANJI_ENGINE", "hanji"), setup, database)
    service = sources.service(Limits(queue=QUEUE))
    sources.want_keys(service)
    return create_app(service)


@serve.deployment(
    num_replicas=int(os.environ.get("RAY_SERVE_REPLICAS", "2")),
    max_ongoing_requests=SLOTS + QUEUE,  # what comes then waits in Ray, or goes to another replica
    health_check_period_s=10,
    graceful_shutdown_timeout_s=60,
)
@serve.ingress(build)
class Hanji:
    """Nothing of its own: the application answers."""


application = Hanji.bind()
