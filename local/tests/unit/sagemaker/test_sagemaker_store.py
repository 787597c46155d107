"""The store: transactions, pages, the outbox."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.store import Query, Resource, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.sqlite")
    yield made
    made.close()


def put(store: Store, name: str, created: float = 1.0) -> None:
    with store.transaction() as tx:
        tx.put(Resource("model", name, f"arn:{name}", {"Name": name}), created=created, modified=created)


def fail_after_writing(store: Store, *, joined: bool) -> None:
    with store.transaction() as tx:
        tx.put(Resource("model", "a", "arn:a", {}), created=1, modified=1)
        tx.emit("type", {}, [])
        if joined:
            with store.transaction():
                raise RuntimeError
        raise RuntimeError


@pytest.mark.parametrize("joined", [False, True])
def test_failed_transaction_changes_nothing(store: Store, joined: bool) -> None:
    with pytest.raises(RuntimeError):
        fail_after_writing(store, joined=joined)
    with store.transaction() as tx:
        assert tx.get("model", "a") is None
    assert store.first_event() is None


def test_names_are_compared_without_case(store: Store) -> None:
    put(store, "Name")
    with store.transaction() as tx:
        found = tx.get("model", "nAME")
    assert found is not None
    assert found.name == "Name"


def test_pages_cover_every_resource_once_even_with_equal_times(store: Store) -> None:
    for name in "edcba":
        put(store, name, created=7.0)
    seen: list[str] = []
    token = None
    with store.transaction() as tx:
        while True:
            page, token = tx.page(Query("model", limit=2, next_token=token))
            seen += [item.name for item in page]
            if token is None:
                break
    assert seen == ["e", "d", "c", "b", "a"]


def test_token_of_another_list_is_refused(store: Store) -> None:
    for name in "ab":
        put(store, name)
    with store.transaction() as tx:
        _, token = tx.page(Query("model", limit=1))
        with pytest.raises(ServiceError, match="other parameters"):
            tx.page(Query("model", sort_by="Name", next_token=token))


def test_deleting_a_resource_removes_its_tags(store: Store) -> None:
    put(store, "a")
    with store.transaction() as tx:
        tx.set_tags("arn:a", {"k": "v"})
        tx.delete("model", "a")
        assert tx.tags("arn:a") == {}


def test_events_wait_in_order_until_they_are_forgotten(store: Store) -> None:
    with store.transaction() as tx:
        tx.emit("first", {"n": 1}, ["arn"])
        tx.emit("second", {"n": 2}, [])
    event = store.first_event()
    assert event is not None
    assert event[1:] == ("first", {"n": 1}, ["arn"])
    store.forget_event(event[0])
    event = store.first_event()
    assert event is not None
    assert event[1] == "second"


def test_waiting_threads_are_woken_by_changes_only(store: Store) -> None:
    woken = threading.Event()
    ready = threading.Event()

    def wait() -> None:
        with store.changed:
            ready.set()
            if store.changed.wait(10):
                woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait(5)
    with store.transaction() as tx:
        tx.get("model", "a")
    assert not woken.wait(0.05)
    put(store, "a")
    assert woken.wait(5)
    thread.join()


def test_counters_survive_reopening(tmp_path: Path) -> None:
    for expected in (1, 2):
        store = Store(tmp_path / "state.sqlite")
        with store.transaction() as tx:
            assert tx.next_number("versions") == expected
        store.close()
