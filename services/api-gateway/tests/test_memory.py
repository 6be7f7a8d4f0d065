"""What a gateway process keeps, for how long, and what it forgets."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.memory import LinkedBlob, Manifest, Memory, TagList, TagListKey
from support.clock import Clock

MIB = 1 << 20
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
ALIAS = "sha512:" + "c" * 128
KEY = ("library/app", "v1", "")
LIST = TagListKey("library/app", "", None)


def manifest(digest: str = DIGEST, content: bytes = b"{}") -> Manifest:
    return Manifest.of(digest, "application/json", content)


def keep(memory: Memory, key, entry) -> None:
    with memory.watching() as watch:
        memory.keep(watch, key, entry)


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def memory(clock: Clock) -> Memory:
    """A memory with a lease of two seconds."""
    memory = Memory(MIB, clock=clock)
    memory.lease_granted("lease", clock.now + 2)
    return memory


def test_what_is_kept_is_found_until_the_lease_runs_out_and_again_when_it_was_renewed(
    memory: Memory, clock: Clock
) -> None:
    keep(memory, KEY, manifest())
    clock.now += 1.999
    assert memory.manifest(KEY) == manifest()
    clock.now += 0.001
    assert memory.manifest(KEY) is None
    memory.lease_granted("lease", clock.now + 2)
    assert memory.manifest(KEY) == manifest()


def test_links_run_out_with_the_lease_and_the_bytes_of_blobs_do_not(memory: Memory, clock: Clock) -> None:
    keep(memory, ("library/app", ALIAS), LinkedBlob.of(ALIAS, DIGEST, 3))
    memory.keep_content(DIGEST, b"abc")
    assert memory.blob(("library/app", ALIAS)) == LinkedBlob.of(ALIAS, DIGEST, 3)
    clock.now += 2
    assert memory.blob(("library/app", ALIAS)) is None
    memory.lease_ended()
    assert memory.content(DIGEST) == b"abc"


def test_without_a_lease_nothing_is_kept(clock: Clock) -> None:
    memory = Memory(MIB, clock=clock)
    keep(memory, KEY, manifest())
    memory.lease_granted("lease", clock.now + 2)
    assert memory.manifest(KEY) is None


def test_a_lease_that_ends_takes_along_what_was_held_under_it(memory: Memory, clock: Clock) -> None:
    keep(memory, KEY, manifest())
    memory.lease_ended()
    memory.lease_granted("lease", clock.now + 2)
    assert (memory.manifest(KEY), len(memory), memory.size) == (None, 0, 0)


def test_another_lease_begins_with_nothing(memory: Memory, clock: Clock) -> None:
    keep(memory, KEY, manifest())
    memory.lease_granted("another", clock.now + 2)
    assert memory.manifest(KEY) is None


def test_an_answer_that_was_asked_for_under_an_earlier_lease_is_not_kept(
    memory: Memory, clock: Clock
) -> None:
    with memory.watching() as watch:
        memory.lease_ended()
        memory.lease_granted("another", clock.now + 2)
        memory.keep(watch, KEY, manifest())
    assert memory.manifest(KEY) is None


def test_an_answer_is_not_kept_when_its_repository_was_revoked_while_it_was_under_way(memory: Memory) -> None:
    other = ("library/other", "v1", "")
    with memory.watching() as watch:
        memory.revoke("library/app", ["v1"], [])
        memory.keep(watch, KEY, manifest())
        memory.keep(watch, other, manifest())
    assert memory.manifest(KEY) is None
    assert memory.manifest(other) is not None
    # What is asked for afterwards is.
    keep(memory, KEY, manifest(OTHER))
    assert memory.manifest(KEY) == manifest(OTHER)


def test_a_revoked_tag_is_forgotten_whatever_was_accepted_and_nothing_else_is(memory: Memory) -> None:
    revoked = [("library/app", "v1", accept) for accept in ("", "a/b", "a/b,c/d")]
    left = [("library/app", "v2", ""), ("library/app", DIGEST, ""), ("library/other", "v1", "")]
    for key in revoked + left:
        keep(memory, key, manifest())
    memory.revoke("library/app", ["v1", "unknown"], [])
    assert [memory.manifest(key) for key in revoked] == [None] * 3
    assert None not in [memory.manifest(key) for key in left]


def test_a_revoked_digest_is_forgotten_with_all_that_leads_to_it(memory: Memory) -> None:
    links = [("library/app", ALIAS), ("library/app", DIGEST)]
    for key in links:
        keep(memory, key, LinkedBlob.of(key[1], DIGEST, 2))
    by_digest, by_tag, left = (
        ("library/app", DIGEST, ""),
        ("library/app", "v1", ""),
        ("library/app", "v2", ""),
    )
    keep(memory, by_digest, manifest())
    keep(memory, by_tag, manifest())
    keep(memory, left, manifest(OTHER))
    memory.revoke("library/app", [], [DIGEST])
    assert [memory.blob(key) for key in links] == [None, None]
    assert [memory.manifest(key) for key in (by_digest, by_tag)] == [None, None]
    assert memory.manifest(left) is not None


@pytest.mark.parametrize(
    ("tags", "digests", "forgotten"),
    [(["v9"], [], True), ([], [DIGEST], False), ([], [], True), (["v9"], [DIGEST], True)],
)
def test_a_list_of_tags_is_forgotten_when_any_tag_is_revoked(
    memory: Memory, tags: list[str], digests: list[str], forgotten: bool
) -> None:
    listed, page = TagList.of("library/app", ["v1", "v2"], False), TagListKey("library/app", "v1", 5)
    other = TagListKey("library/other", "", None)
    for key in (LIST, page, other):
        keep(memory, key, listed)
    memory.revoke("library/app", tags, digests)
    assert memory.tags(LIST) == memory.tags(page) == (None if forgotten else listed)
    assert memory.tags(other) == listed


def test_a_list_of_tags_runs_out_with_the_lease(memory: Memory, clock: Clock) -> None:
    keep(memory, LIST, TagList.of("library/app", [], False))
    assert memory.tags(LIST) is not None
    clock.now += 2
    assert memory.tags(LIST) is None


def test_a_revocation_without_names_forgets_all_of_its_repository_alone(memory: Memory) -> None:
    keep(memory, KEY, manifest())
    keep(memory, ("library/app", DIGEST), LinkedBlob.of(DIGEST, DIGEST, 2))
    keep(memory, ("library/app/sub", "v1", ""), manifest())
    memory.revoke("library/app", [], [])
    assert (memory.manifest(KEY), memory.blob(("library/app", DIGEST))) == (None, None)
    assert memory.manifest(("library/app/sub", "v1", "")) is not None


def test_a_later_answer_takes_the_place_of_an_earlier_one_under_its_own_digest(memory: Memory) -> None:
    keep(memory, KEY, manifest(DIGEST))
    keep(memory, KEY, manifest(OTHER))
    memory.revoke("library/app", [], [DIGEST])
    assert memory.manifest(KEY) == manifest(OTHER)
    memory.revoke("library/app", [], [OTHER])
    assert memory.manifest(KEY) is None


def test_what_was_used_last_is_what_stays_under_the_limit(memory: Memory) -> None:
    content = bytes(300_000)
    for name in ("a", "b", "c"):
        memory.keep_content(name, content)
    assert memory.content("a") == content
    memory.keep_content("d", content)
    assert [memory.content(name) is not None for name in "abcd"] == [True, False, True, True]
    assert memory.size <= MIB


def test_manifests_links_and_bytes_share_one_limit(memory: Memory) -> None:
    keep(memory, KEY, manifest(content=bytes(500_000)))
    keep(memory, ("library/app", DIGEST), LinkedBlob.of(DIGEST, DIGEST, 2))
    memory.keep_content(DIGEST, bytes(MIB - 100_000))
    assert memory.content(DIGEST) is not None
    assert memory.manifest(KEY) is None
    assert memory.blob(("library/app", DIGEST)) is not None


def test_what_is_larger_than_the_limit_is_not_kept_and_takes_nobodys_place(memory: Memory) -> None:
    keep(memory, KEY, manifest())
    memory.keep_content(DIGEST, bytes(MIB))
    keep(memory, ("library/app", "large", ""), manifest(content=bytes(MIB)))
    assert memory.content(DIGEST) is None
    assert memory.manifest(("library/app", "large", "")) is None
    assert memory.manifest(KEY) is not None


def test_a_memory_without_bytes_keeps_nothing(clock: Clock) -> None:
    memory = Memory(0, clock=clock)
    memory.lease_granted("lease", clock.now + 2)
    keep(memory, KEY, manifest())
    memory.keep_content(DIGEST, b"")
    assert (memory.manifest(KEY), memory.content(DIGEST), memory.size) == (None, None, 0)


def test_no_more_memory_is_taken_than_is_counted(clock: Clock) -> None:
    memory = Memory(64 * MIB, clock=clock)
    memory.lease_granted("lease", clock.now + 2)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            digest = f"sha256:{number:064x}"
            repository = f"library/app-{number // 2}"
            keep(memory, (repository, f"v{number}", ""), manifest(digest, f"{number}".encode() * 100))
            keep(memory, (repository, digest), LinkedBlob.of(digest, f"sha256:{number:063x}0", number))
            memory.keep_content(f"{digest}-content", f"{number}".encode() * 100)
            keep(memory, TagListKey(repository, f"t{number}", 5), TagList.of(repository, ["v1"] * 9, True))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.5 * memory.size < taken <= memory.size


_NAMES = st.sampled_from(["r", "s"])
_TAGS = st.sampled_from(["v1", "v2", "v3", DIGEST, OTHER])
_DIGESTS = st.sampled_from([DIGEST, OTHER])
_STEPS = st.one_of(
    st.tuples(st.just("manifest"), _NAMES, _TAGS, _DIGESTS, st.integers(0, 9000)),
    st.tuples(st.just("link"), _NAMES, _DIGESTS, _DIGESTS),
    st.tuples(st.just("list"), _NAMES, _TAGS, st.integers(0, 900)),
    st.tuples(st.just("content"), _DIGESTS, st.integers(0, 9000)),
    st.tuples(st.just("revoke"), _NAMES, st.lists(_TAGS, max_size=2)),
    st.tuples(st.just("use"), _NAMES, _TAGS),
)


@given(st.lists(_STEPS, max_size=60))
def test_whatever_happens_nothing_revoked_is_found_and_nothing_stays_behind(steps) -> None:
    memory = Memory(16_000, clock=Clock())
    memory.lease_granted("lease", 200)
    for step in steps:
        match step:
            case ("manifest", name, tag, digest, size):
                keep(memory, (name, tag, ""), manifest(digest, bytes(size)))
            case ("link", name, asked, digest):
                keep(memory, (name, asked), LinkedBlob.of(asked, digest, 5))
            case ("list", name, last, size):
                keep(memory, TagListKey(name, last, None), TagList.of(name, ["v1"] * size, False))
            case ("content", digest, size):
                memory.keep_content(digest, bytes(size))
            case ("use", name, tag):
                memory.manifest((name, tag, ""))
            case ("revoke", name, named):
                memory.revoke(name, [each for each in named if ":" not in each], [])
                for each in named:
                    if ":" not in each:
                        assert memory.tags(TagListKey(name, each, None)) is None
                        assert memory.manifest((name, each, "")) is None
        assert memory.size <= 16_000
    memory.lease_ended()
    contents = [each for each in (DIGEST, OTHER) if memory.content(each) is not None]
    assert len(memory) == len(contents)
