"""Where chunks stand: on their edges, in answers, and after an upgrade."""

from __future__ import annotations

from typing import Any

from activekg_pipelines.chunking import CHUNKER_VERSION
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.search import SearchHit, search
from activekg_pipelines.services import Services
from tests.integration.syncing import TENANT, chunk_nodes, drain, query, scan, sync
from tests.s3_bucket import Bucket

SENTENCE = "The valve opens at two bar and closes again when the pressure has fallen. "
PENGUINS = "Penguins stand beside it and look. " * 40
ROWS = "".join(f"| valve {n} | {n} bar, for water only |\n" for n in range(80))
MANUAL = f"""\
# Manual

{SENTENCE * 20}

## Pressures

{SENTENCE * 20}

| Valve | Opens at |
| --- | --- |
{ROWS}
## Penguins

{PENGUINS}
"""


def places_of(services: Services) -> list[dict[str, Any]]:
    """What the edges say, in the order of the text."""
    rows = query(
        services,
        "SELECT e.props FROM edges e ORDER BY (e.props ->> 'chunk_index')::int",
    )
    return [props for (props,) in rows]


def hits_of(services: Services, question: str) -> list[SearchHit]:
    return search(services.database, services.encoder, tenant_id=TENANT, query=question, limit=3)


def put_pages(services: Services, page_starts: list[int]) -> None:
    """Let the stored text have pages, as that of a PDF has, and be indexed again."""
    query(
        services,
        "UPDATE connectors.texts SET facts = facts || jsonb_build_object('page_starts', %s::int[])"
        " RETURNING 1",
        page_starts,
    )
    query(services, "UPDATE connectors.objects SET state = 'extracted' RETURNING 1")


def test_each_chunk_has_its_headings_and_the_head_of_its_table(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("manual.md", MANUAL)
    sync(services, connector)
    places = places_of(services)
    assert places[0]["headings"] == ["Manual"]
    assert places[-1]["headings"] == ["Manual", "Penguins"]
    inside = [place for place in places if "table_head" in place]
    assert len(inside) >= 2
    assert {place["table_head"] for place in inside} == {"| Valve | Opens at |"}
    assert all(place["headings"] == ["Manual", "Pressures"] for place in inside)
    assert not any("page_from" in place for place in places)
    ((text,),) = query(services, "SELECT text FROM connectors.texts")
    assert {text[place["char_start"] : place["char_end"]] for place in places} == set(
        chunk_nodes(services)
    ), "a chunk is what the document says, and nothing of its place"
    for hit in hits_of(services, "penguins"):
        place = places[hit.chunk_index]
        assert (list(hit.headings), hit.table_head) == (place["headings"], place.get("table_head"))
        assert (hit.page_from, hit.page_to, hit.link) == (None, None, hit.uri)


def test_a_hit_opens_at_its_page(services: Services, bucket: Bucket, connector: Connector) -> None:
    bucket.put("manual.md", MANUAL)
    sync(services, connector)
    put_pages(services, [0, MANUAL.index("## Pressures"), *[MANUAL.index("## Penguins")] * 2])
    drain(services, connector)
    pages = [(place["page_from"], place["page_to"]) for place in places_of(services)]
    assert pages[0] == (1, 1)
    assert pages[-1] == (4, 4), "the third page is without text"
    assert pages == sorted(pages)
    hits = hits_of(services, "penguins")
    assert [(hit.page_from, hit.page_to) for hit in hits] == [
        pages[hit.chunk_index] for hit in hits
    ]
    assert f"s3://{bucket.name}/manual.md#page=4" in {hit.link for hit in hits}
    ((facts,),) = query(
        services, "SELECT props -> 'extraction' FROM nodes WHERE 'Document' = ANY(classes)"
    )
    assert "page_starts" not in facts


def test_what_an_older_version_indexed_gets_its_places_without_a_new_vector(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("manual.md", MANUAL)
    sync(services, connector)
    as_now, nodes = places_of(services), chunk_nodes(services)
    query(
        services,
        "UPDATE edges SET props = props - '{headings,table_head,page_from,page_to}'::text[] "
        "RETURNING 1",
    )
    query(services, "UPDATE connectors.objects SET chunker_version = '1' RETURNING 1")
    query(
        services,
        "UPDATE connectors.connectors SET versions = replace(versions, ' ' || %s || ' ', ' 1 ') "
        "RETURNING 1",
        CHUNKER_VERSION,
    )
    scan(services, connector)
    counts = drain(services, connector)
    assert (counts.bytes_fetched, counts.indexed, counts.embeddings_computed) == (0, 1, 0)
    assert places_of(services) == as_now
    assert chunk_nodes(services) == nodes, "not even written again"


def test_only_chunks_whose_text_changed_are_embedded_when_the_places_of_all_change(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("manual.md", MANUAL)
    sync(services, connector)
    nodes, before = chunk_nodes(services), places_of(services)
    put_pages(services, [0, 100])
    assert drain(services, connector).embeddings_computed == 0
    assert chunk_nodes(services) == nodes
    assert all("page_from" in place for place in places_of(services))
    bucket.put("manual.md", MANUAL.replace("# Manual\n", "# Manual\n\n## Cover\n\nNew. " * 40, 1))
    counts = sync(services, connector)
    after = chunk_nodes(services)
    kept = nodes.keys() & after.keys()
    assert len(kept) >= len(nodes) - 1
    assert {text: after[text] for text in kept} == {text: nodes[text] for text in kept}
    assert counts.embeddings_computed == len(after) - len(kept)
    assert places_of(services)[-1]["headings"] == before[-1]["headings"]
