"""Which tags a run gets, and what its configuration may ask for."""

from __future__ import annotations

import pytest

from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.run_scope import (
    DOCUMENT_EMBEDDINGS,
    EXTRACTED_TEXT,
    SOURCE_OBJECTS,
    SyncConfig,
)
from activekg_pipelines.orchestrator.coordinator import ASSETS, SYNC_JOB
from activekg_pipelines.orchestrator.run_bounds import (
    MAX_OBJECTS,
    RunRefused,
    check_agreement,
    check_config,
    required_tags,
)

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PARTITION, TENANT = "dagster/partition", "activekg/tenant"


def test_the_tags_are_those_of_the_partition() -> None:
    ours = {PARTITION: "acme/docs", TENANT: "acme"}
    assert required_tags({PARTITION: "acme/docs"}) == ours
    assert required_tags({PARTITION: "acme/docs", TENANT: "globex"}) == ours
    assert required_tags({START: "acme/docs", END: "acme/docs"}) == ours
    assert required_tags({TENANT: "acme"}) == {}


@pytest.mark.parametrize(
    "tags",
    [
        {START: "acme/a", END: "acme/b"},
        {PARTITION: "acme/a", START: "globex/b", END: "globex/b"},
        {PARTITION: "acme/a", "dagster/partition/x": "globex/b"},
        {"dagster/partition/x": "globex/b"},
    ],
)
def test_tags_that_name_several_partitions_are_refused(tags: dict[str, str]) -> None:
    with pytest.raises(RunRefused, match="several partitions"):
        required_tags(tags)


def test_a_run_that_was_counted_as_another_tenants_is_refused() -> None:
    check_agreement({}, "acme/docs")
    check_agreement({PARTITION: "acme/docs", TENANT: "acme"}, "acme/docs")
    for tags in ({TENANT: "globex"}, {PARTITION: "globex/docs"}):
        with pytest.raises(RunRefused, match="Start it again without tags of your own"):
            check_agreement(tags, "acme/docs")


@pytest.mark.parametrize(
    "config", [{"max_objects": 10**15}, {"max_objects": 10**5000}, {"time_budget_seconds": 1e9}]
)
def test_a_configuration_beyond_the_bounds_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(RunRefused, match="is too large"):
        check_config({"ops": {"extract_and_index": {"config": config}}})
    with pytest.raises(ValueError, match="less than or equal"):
        SyncConfig(**config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"ops": None},
        {"ops": {"extract_and_index": None}},
        {"ops": {"extract_and_index": {"config": None}}},
        {"ops": {"extract_and_index": {"config": {"mode": "all", "max_objects": MAX_OBJECTS}}}},
        {"ops": {"extract_and_index": {"config": {"max_objects": {"env": "N"}}}}},
    ],
)
def test_every_other_configuration_is_dagsters_to_check(config: dict[str, object]) -> None:
    check_config(config)


def test_the_coordinator_knows_our_assets_and_job() -> None:
    keys = {key.to_user_string() for key in (SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS)}
    assert keys == ASSETS
    assert sync_connector.name == SYNC_JOB
