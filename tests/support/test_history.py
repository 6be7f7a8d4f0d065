"""The checker itself: it accepts what a register can do, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.history import NOTHING, NotLinearizableError, Operation, Recorder, check_linearizable


def write(value: str, begin: float, end: float = math.inf) -> Operation:
    return Operation("write", value, begin, end)


def read(value: str, begin: float, end: float) -> Operation:
    return Operation("read", value, begin, end)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([], id="nothing at all"),
        pytest.param([read(NOTHING, 0, 1), write("a", 2, 3), read("a", 4, 5)], id="one after the other"),
        pytest.param([write("a", 0, 9), read(NOTHING, 1, 2), read("a", 3, 4)], id="reads during a write"),
        pytest.param(
            [write("a", 0, 9), write("b", 0, 9), read("a", 10, 11)], id="either of two writes is the last"
        ),
        pytest.param([write("a", 0, 9), write("b", 1, 2), read("b", 10, 11)], id="a long write goes first"),
        pytest.param(
            [write("a", 0), read(NOTHING, 1, 2), read("a", 50, 51)],
            id="an unanswered write that happens late",
        ),
        pytest.param(
            [write("a", 0), write("b", 1, 2), read("b", 50, 51)], id="an unanswered write that never happens"
        ),
        pytest.param(
            [write("a", 0), write("b", 1, 2), read("b", 3, 4), read("a", 5, 6)],
            id="an unanswered write that overtakes",
        ),
        pytest.param(
            [write("a", 0, 1), write("b", 2, 9), read("b", 3, 8), read("a", 3, 7)], id="reads in either order"
        ),
    ],
)
def test_what_a_register_can_do_is_accepted(history: list[Operation]) -> None:
    check_linearizable(history)


@pytest.mark.parametrize(
    ("history", "contradiction"),
    [
        pytest.param([write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)], "no order", id="a stale read"),
        pytest.param([write("a", 0, 1), read(NOTHING, 2, 3)], "no order", id="a lost write"),
        pytest.param([write("a", 0, 1), read("c", 2, 3)], "never written", id="a value that nobody wrote"),
        pytest.param([read("a", 0, 1), write("a", 2, 3)], "before it was written", id="a read of the future"),
        pytest.param(
            [write("a", 0, 9), read("a", 1, 2), read(NOTHING, 3, 4)], "no order", id="a value that goes back"
        ),
        pytest.param(
            [write("a", 0), read("a", 1, 2), read(NOTHING, 3, 4)],
            "no order",
            id="an unanswered write that goes back",
        ),
        pytest.param(
            [write("a", 0, 9), write("b", 0, 9), read("a", 10, 11), read("b", 12, 13)],
            "no order",
            id="two last writes",
        ),
        pytest.param(
            [write("a", 0, 1), write("b", 2, 9), read("b", 3, 4), read("a", 5, 6), read("b", 7, 8)],
            "no order",
            id="one stale memory among two",
        ),
    ],
)
def test_what_a_register_cannot_do_is_rejected(history: list[Operation], contradiction: str) -> None:
    with pytest.raises(NotLinearizableError, match=contradiction):
        check_linearizable(history)


def test_a_contradiction_names_the_operations() -> None:
    history = [write("first", 0, 1), write("second", 2, 3), read("first", 4, 5)]
    with pytest.raises(NotLinearizableError) as caught:
        check_linearizable(history)
    assert "read 'first' [4.000000, 5.000000]" in str(caught.value)
    assert "write 'second' [2.000000, 3.000000]" in str(caught.value)


def test_a_history_that_says_nothing_is_an_error_and_not_accepted() -> None:
    with pytest.raises(ValueError, match="written twice"):
        check_linearizable([write("a", 0, 1), write("a", 2, 3)])
    with pytest.raises(ValueError, match="written twice"):
        check_linearizable([write(NOTHING, 0, 1)])
    with pytest.raises(ValueError, match="ends before it begins"):
        write("a", 2, 1)
    with pytest.raises(ValueError, match="without an answer"):
        read("a", 2, math.inf)


def is_linearizable_by_search(operations: Sequence[Operation], value: str = NOTHING) -> bool:
    """Every order that time allows (Wing and Gong), for a handful of operations."""
    if all(math.isinf(each.end) for each in operations):
        return True
    first_end = min(each.end for each in operations)
    for number, operation in enumerate(operations):
        # It may be next if no other one was over before it began.
        if operation.begin > first_end or (operation.kind == "read" and operation.value != value):
            continue
        rest = [*operations[:number], *operations[number + 1 :]]
        if is_linearizable_by_search(rest, operation.value if operation.kind == "write" else value):
            return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Up to three writes and four reads, at distinct moments."""
    writes, reads = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    moments = draw(st.permutations(range(2 * (writes + reads))))
    spans = [sorted(moments[2 * number : 2 * number + 2]) for number in range(writes + reads)]
    values = "abc"[:writes]
    operations = [
        write(value, begin, math.inf if draw(st.booleans()) else end)
        for value, (begin, end) in zip(values, spans, strict=False)
    ]
    seen = st.sampled_from([NOTHING, *values])
    return operations + [read(draw(seen), begin, end) for begin, end in spans[writes:]]


@settings(max_examples=1000, deadline=None)
@given(histories())
def test_it_agrees_with_a_search_of_every_order(history: list[Operation]) -> None:
    try:
        check_linearizable(history)
        accepted = True
    except NotLinearizableError:
        accepted = False
    assert accepted is is_linearizable_by_search(history)


def test_the_recorder_writes_down_what_each_client_knows() -> None:
    recorder = Recorder()
    with recorder.write("tag", "a", "one") as attempt:
        attempt.acknowledged = True
    with pytest.raises(ConnectionError), recorder.write("tag", "b", "one"):
        raise ConnectionError
    with recorder.read("tag", "two") as answer:
        answer.value = "a"
    with recorder.read("tag", "two"):
        pass
    first, second, third = recorder.histories["tag"]
    assert (first.kind, first.value, first.client) == ("write", "a", "one")
    assert first.begin <= first.end <= second.begin
    assert second.end == math.inf
    assert (third.kind, third.value, third.client) == ("read", "a", "two")
    check_linearizable(recorder.histories["tag"])
