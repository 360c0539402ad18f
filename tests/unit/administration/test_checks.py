"""One part that is broken says why of all that need it, and hides no other."""

from __future__ import annotations

import pytest

from activekg_pipelines.administration.checks import CHECKS, Installation, findings
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings


@pytest.fixture
def installation() -> Installation:
    """One whose database cannot even be asked."""
    return Installation(Services(Settings.model_construct()), no_database="No server is there.")


def test_what_needs_a_broken_part_is_unknown_for_the_first_reason(
    installation: Installation,
) -> None:
    database, migrations, keys = findings(
        installation, {"database", "migrations", "encryption_keys"}
    )
    assert database.ok is False
    assert database.fix
    assert "No server" not in database.detail
    assert "No server is there." in database.told()
    assert (migrations.ok, keys.ok) == (None, None)
    assert migrations.detail == keys.detail == "unknown, because the database does not answer"


def test_a_part_that_is_not_asked_for_still_decides(installation: Installation) -> None:
    (migrations,) = findings(installation, {"migrations"})
    assert migrations.ok is None


def test_every_part_that_others_need_comes_before_them_and_says_what_it_means() -> None:
    seen: dict[str, str] = {}
    for check in CHECKS:
        assert check.needs is None or seen[check.needs]
        seen[check.name] = check.is_broken
