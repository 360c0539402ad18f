"""A sync without the orchestrator: scan, extract, index.

Postgres is real, and S3 is spoken to over HTTP.
"""

from __future__ import annotations

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.search import search
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.integration.syncing import chunk_nodes, drain, scan, states, sync
from tests.s3_bucket import Bucket

PARAGRAPHS = [
    f"# Section {number}\n\n" + f"Paragraph {number} is about the {word} of the house. " * 12
    for number, word in enumerate(["roof", "cellar", "garden", "kitchen", "library", "attic"])
]


def test_a_document_becomes_searchable_with_true_offsets(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    etag = bucket.put("docs/house.md", "\n\n".join(PARAGRAPHS))
    counts = sync(services, connector)
    assert (counts.extracted, counts.indexed, counts.failed) == (1, 1, 0)

    hits = search(
        services.database,
        services.encoder,
        tenant_id="acme_corp",
        query="Where do the books stand? library",
        limit=3,
    )
    assert hits[0].uri == f"s3://{bucket.name}/docs/house.md"
    assert "library" in hits[0].snippet
    assert len(hits) == 3
    with services.database.transaction() as conn:
        rows = conn.execute(
            "SELECT c.props ->> 'text', substr(t.text, (e.props ->> 'char_start')::int + 1,"
            " (e.props ->> 'char_end')::int - (e.props ->> 'char_start')::int)"
            " FROM edges e JOIN nodes c ON c.id = e.src CROSS JOIN connectors.texts t WHERE e.rel "
            "= 'DERIVED_FROM'"
        ).fetchall()
        document = conn.execute(
            "SELECT props FROM nodes WHERE 'Document' = ANY(classes)"
        ).fetchone()
        vectors = conn.execute(
            "SELECT vector_norm(embedding) FROM nodes WHERE 'Chunk' = ANY(classes)"
        ).fetchall()
    assert len(rows) >= 3
    assert all(text == cut for text, cut in rows)
    assert all(abs(norm - 1) < 1e-5 for (norm,) in vectors)
    assert document is not None
    assert document[0]["etag"] == etag
    assert document[0]["uri"] == f"s3://{bucket.name}/docs/house.md"
    assert {"title", "content_hash", "mime_type", "size", "modified_at", "external_id"} <= set(
        document[0]
    )


def test_a_changed_object_keeps_the_nodes_of_its_unchanged_chunks(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("house.md", "\n\n".join(PARAGRAPHS))
    sync(services, connector)
    before = chunk_nodes(services)

    changed = [*PARAGRAPHS]
    changed[3] = changed[3].replace("kitchen", "pantry")
    bucket.put("house.md", "\n\n".join(changed))
    counts = sync(services, connector)
    after = chunk_nodes(services)

    kept = set(before) & set(after)
    assert len(kept) >= len(before) - 2
    assert all(before[text] == after[text] for text in kept)
    assert not any("kitchen" in text for text in after)
    assert any("pantry" in text for text in after)
    assert counts.embeddings_computed == len(set(after) - set(before))


def test_an_unchanged_bucket_costs_no_download_and_rewrites_no_row(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    for number in range(5):
        bucket.put(f"{number}.txt", f"This is document number {number}.")
    sync(services, connector)
    with services.database.transaction() as conn:
        before = conn.execute(
            "SELECT xmin::text, key FROM connectors.objects ORDER BY key"
        ).fetchall()
    result = scan(services, connector)
    assert (result.counts.listed, result.counts.added, result.counts.changed) == (5, 0, 0)
    assert drain(services, connector).bytes_fetched == 0
    with services.database.transaction() as conn:
        assert (
            conn.execute("SELECT xmin::text, key FROM connectors.objects ORDER BY key").fetchall()
            == before
        )


def test_a_renamed_and_a_copied_object_encode_nothing(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    text = "\n\n".join(PARAGRAPHS)
    bucket.put("old-name.md", text)
    assert sync(services, connector).embeddings_computed > 0

    bucket.put("copy.md", text)
    assert sync(services, connector).embeddings_computed == 0

    bucket.put("new-name.md", text)
    bucket.delete("old-name.md", "copy.md")
    counts = sync(services, connector)
    assert (counts.indexed, counts.embeddings_computed) == (1, 0)
    hits = search(
        services.database, services.encoder, tenant_id="acme_corp", query="attic", limit=20
    )
    assert {hit.uri for hit in hits} == {f"s3://{bucket.name}/new-name.md"}


def test_the_same_bytes_under_a_new_etag_update_metadata_only(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("note.txt", "The pump runs at 40 bar.")
    sync(services, connector)
    nodes = chunk_nodes(services)
    # A multipart upload of the same bytes has another ETag.
    upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="note.txt")["UploadId"]
    part = bucket.client.upload_part(
        Bucket=bucket.name,
        Key="note.txt",
        UploadId=upload,
        PartNumber=1,
        Body=b"The pump runs at 40 bar.",
    )
    bucket.client.complete_multipart_upload(
        Bucket=bucket.name,
        Key="note.txt",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    counts = sync(services, connector)
    assert (counts.unchanged, counts.extracted, counts.indexed, counts.embeddings_computed) == (
        1,
        0,
        0,
        0,
    )
    assert chunk_nodes(services) == nodes
    etag = bucket.client.head_object(Bucket=bucket.name, Key="note.txt")["ETag"].strip('"')
    assert etag.endswith("-1")
    with services.database.transaction() as conn:
        assert conn.execute(
            "SELECT props ->> 'etag' FROM nodes WHERE 'Document' = ANY(classes)"
        ).fetchone() == (etag,)


def test_a_deleted_object_is_gone_after_the_next_completed_scan(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("keep.txt", "Penguins live in Antarctica.")
    bucket.put("drop.txt", "Polar bears live in the Arctic.")
    sync(services, connector)
    bucket.delete("drop.txt")
    assert scan(services, connector).counts.deleted == 1
    hits = search(
        services.database,
        services.encoder,
        tenant_id="acme_corp",
        query="Where do bears live?",
        limit=10,
    )
    assert [hit.uri for hit in hits] == [f"s3://{bucket.name}/keep.txt"]
    with services.database.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM nodes").fetchone() == (2,)
        assert conn.execute("SELECT count(*) FROM edges").fetchone() == (1,)
        assert conn.execute("SELECT count(*) FROM connectors.texts").fetchone() == (1,)
    assert states(services, connector)["drop.txt"] == ("deleted", None)


def test_two_tenants_with_the_same_key_in_the_same_bucket_stay_apart(
    services: Services, bucket: Bucket
) -> None:
    bucket.put("plan.txt", "The plan is to build a bridge.")
    first = bucket.register(services, "tenant_a")
    second = bucket.register(services, "tenant_b")
    sync(services, first)
    assert (
        search(services.database, services.encoder, tenant_id="tenant_b", query="bridge", limit=5)
        == []
    )
    counts = sync(services, second)
    assert counts.embeddings_computed == 1
    for tenant in ("tenant_a", "tenant_b"):
        hits = search(
            services.database, services.encoder, tenant_id=tenant, query="bridge", limit=5
        )
        assert [hit.uri for hit in hits] == [f"s3://{bucket.name}/plan.txt"]
    assert not set(chunk_nodes(services, "tenant_a").values()) & set(
        chunk_nodes(services, "tenant_b").values()
    )


def test_2500_objects_list_over_pages_and_calls_and_end_complete(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"data/{number:05}.png": b"x" for number in range(2500)})
    calls = 0
    while True:
        result = scan_connector(services, connector, budget_seconds=0.0001)
        calls += 1
        if result.completed:
            break
    assert calls == 3
    assert len(states(services, connector)) == 2500
    with services.database.transaction() as conn:
        assert conn.execute(
            "SELECT status, pages, listed, added, missing FROM connectors.scans"
        ).fetchall() == [("completed", 3, 2500, 2500, 0)]
