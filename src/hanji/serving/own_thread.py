"""Work in a thread that ends, so that OpenMP's threads of it end as well."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def in_own_thread(work: Callable[[], Result]) -> Result:
    """What `work` gives, or raises. Models are loaded and made ready so.

    Every thread that has computed keeps helpers of OpenMP until it ends. Where all of them together are more
    than there are cores, libgomp no longer lets the working ones wait actively, and each step of an engine,
    with its hundreds of short products, takes twice as long (measured on two cores; docs/log.md).
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = Thread(target=run, name="hanji-loading", daemon=True)
    thread.start()
    try:
        return future.result()
    finally:
        if future.done():
            thread.join()
