"""Feedback: the last word about an answer counts."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread

import pytest

from hanji.contracts.errors import DataError
from hanji.storage.database import Database
from hanji.storage.feedback import Feedback, FeedbackBook
from hanji.storage.keys import Keys
from hanji.storage.tables import now


@pytest.fixture
def book(database: Database) -> FeedbackBook:
    return FeedbackBook(database)


def test_all_of_it_is_kept(database: Database, book: FeedbackBook) -> None:
    key, _ = Keys(database).create("app")
    given = Feedback(
        answer_id="chat-1",
        rating="down",
        model="support",
        comment="틀렸어요",
        corrected="The moon.",
        key_id=key.id,
    )
    book.give(given)
    (found,) = book.all()
    names = ("answer_id", "rating", "model", "comment", "corrected", "key_id", "created")
    assert [getattr(found, name) for name in names] == [getattr(given, name) for name in names]
    assert "The moon." not in repr(found)


def test_the_last_word_counts(book: FeedbackBook) -> None:
    book.give(Feedback(answer_id="a", rating="down", model="m", comment="bad"))
    book.give(Feedback(answer_id="b", rating="up", model="m"))
    book.give(Feedback(answer_id="a", rating="up", model="m"))
    assert [(found.answer_id, found.rating, found.comment) for found in book.all()] == [
        ("b", "up", None),
        ("a", "up", None),
    ]


def test_two_at_once(book: FeedbackBook) -> None:
    failed: list[Exception] = []

    def give(rating: str) -> None:
        try:
            for _ in range(20):
                book.give(Feedback(answer_id="a", rating=rating, model="m"))
        except Exception as error:
            failed.append(error)

    threads = [Thread(target=give, args=(rating,)) for rating in ("up", "down")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(book.all()) == 1


def test_since_a_moment(book: FeedbackBook) -> None:
    book.give(Feedback(answer_id="old", rating="up", model="m", created=now() - timedelta(days=2)))
    book.give(Feedback(answer_id="new", rating="up", model="m"))
    assert [found.answer_id for found in book.all(since=now() - timedelta(days=1))] == ["new"]
    assert len(book.all()) == 2


def test_mistakes_are_told(book: FeedbackBook) -> None:
    with pytest.raises(DataError, match="up or down"):
        book.give(Feedback(answer_id="a", rating="sideways", model="m"))
    for answer_id in ("", "x" * 129):
        with pytest.raises(DataError, match="id of an answer"):
            book.give(Feedback(answer_id=answer_id, rating="up", model="m"))
    assert book.all() == []
