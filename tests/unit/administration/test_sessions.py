"""Sessions: how long they live, and who can make one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jwt
import pytest

from activekg_pipelines.administration.sessions import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    Session,
    Sessions,
)

KEY = b"k" * 32
FAR = 1e12


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(KEY, "page", clock=clock)


def test_a_session_lives_while_it_is_used(sessions: Sessions, clock: Clock) -> None:
    session = sessions.begin("alice", FAR)
    assert sessions.read(sessions.written(session)) == session
    assert sessions.renewed(session) is None, "It is new."
    begun = clock.now
    while (clock.now - begun) < LONGEST_SECONDS - IDLE_SECONDS:
        clock.now += 0.75 * IDLE_SECONDS
        read = sessions.read(sessions.written(session))
        assert read == session
        session = sessions.renewed(session) or session
        assert session.id == read.id
    clock.now = begun + LONGEST_SECONDS
    assert sessions.read(sessions.written(session)) is None
    assert sessions.renewed(session) is None


def test_a_session_that_is_not_used_ends(sessions: Sessions, clock: Clock) -> None:
    written = sessions.written(sessions.begin("alice", FAR))
    clock.now += IDLE_SECONDS - 1
    assert sessions.read(written)
    clock.now += 1
    assert sessions.read(written) is None


def test_a_session_ends_with_its_token(sessions: Sessions, clock: Clock) -> None:
    session = sessions.begin("alice", clock.now + 60)
    assert session.until == session.latest == clock.now + 60
    assert sessions.renewed(session) is None


def test_a_session_that_was_ended_is_gone_under_every_text(
    sessions: Sessions, clock: Clock
) -> None:
    session, other = sessions.begin("alice", FAR), sessions.begin("bob", FAR)
    sessions.end(session)
    clock.now += IDLE_SECONDS / 2
    later = sessions.renewed(session)
    assert later
    assert sessions.read(sessions.written(session)) is None
    assert sessions.read(sessions.written(later)) is None
    assert sessions.read(sessions.written(other)) == other


def test_nobody_else_makes_one(sessions: Sessions, clock: Clock) -> None:
    session = sessions.begin("alice", FAR)
    forged = replace(session, subject="mallory")
    for other in (Sessions(b"x" * 32, "page", clock=clock), Sessions(KEY, "other", clock=clock)):
        assert sessions.read(other.written(forged)) is None
    claims = jwt.decode(sessions.written(session), options={"verify_signature": False})
    for text in (
        "",
        "x",
        "x.y.z",
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims | {"latest": "soon"}, KEY, algorithm="HS256"),
        jwt.encode({k: v for k, v in claims.items() if k != "latest"}, KEY, algorithm="HS256"),
        jwt.encode({k: v for k, v in claims.items() if k != "jti"}, KEY, algorithm="HS256"),
    ):
        assert sessions.read(text) is None, text
    assert isinstance(sessions.read(jwt.encode(claims, KEY, algorithm="HS256")), Session)
