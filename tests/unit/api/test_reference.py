"""The API reference is what its generator makes of this version's document."""

from __future__ import annotations

import re

from activekg_pipelines.api.app import MAX_BODY_BYTES, published_document
from activekg_pipelines.api.request_limits import rate_limit
from activekg_pipelines.settings import Settings
from docs.make_api_reference import HEAD, PAGE, api_reference


def test_the_page_is_up_to_date() -> None:
    made = api_reference(published_document())
    assert PAGE.read_text(encoding="utf-8") == made, "run: python docs/make_api_reference.py"


def test_every_route_says_who_may_and_what_it_answers() -> None:
    made = api_reference(published_document())
    routes = re.findall(r"^### [A-Z]+ .+?(?=^##)", made, re.MULTILINE | re.DOTALL)
    assert len(routes) == sum(len(methods) for methods in published_document()["paths"].values())
    for route in routes:
        assert re.search(r"^(Scope: `|Open to everybody)", route, re.MULTILINE), route
        assert re.search(r"^Answers: 20\d ", route, re.MULTILINE), route


def test_links_within_the_page_lead_somewhere() -> None:
    made = api_reference(published_document())
    headings = {line.strip("# ").lower() for line in made.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\(#([^)]+)\)", made)) <= headings


def test_the_head_names_the_limits_of_the_code() -> None:
    rate = rate_limit(Settings.model_construct(activekg_api_rate_limit="600/minute"))
    assert Settings.model_fields["activekg_api_rate_limit"].default == "600/minute"
    assert rate is not None
    told = " ".join(HEAD.split())
    assert f"{rate.amount} requests a minute" in told
    assert f"{MAX_BODY_BYTES:,} bytes" in told
