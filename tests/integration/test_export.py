"""A tenant's chunks as a Parquet file that pandas reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from activekg_pipelines.graph.export import export_chunks
from activekg_pipelines.services import Services
from tests.integration.syncing import sync
from tests.integration.test_sync import PARAGRAPHS
from tests.s3_bucket import Bucket


def test_an_export_holds_one_tenants_chunks_with_their_vectors(
    services: Services, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("house.md", "\n\n".join(PARAGRAPHS))
    bucket.put("note.txt", "A short note about the roof.")
    for tenant in ("tenant_a", "tenant_b"):
        sync(services, bucket.register(services, tenant))
    target = tmp_path / "chunks.parquet"
    rows = export_chunks(services.database, "tenant_a", target)

    table = pd.read_parquet(target)
    assert len(table) == rows >= 3
    assert set(table["uri"]) == {f"s3://{bucket.name}/house.md", f"s3://{bucket.name}/note.txt"}
    assert (
        table.groupby("uri")["chunk_index"]
        .apply(lambda index: list(index) == list(range(len(index))))
        .all()
    )
    house = table[table["uri"] == f"s3://{bucket.name}/house.md"]
    assert all(headings[0].startswith("Section ") for headings in house["headings"])
    assert house["page_from"].isna().all()
    vectors = np.stack(table["embedding"].to_numpy())
    assert vectors.shape == (rows, 384)
    fresh = services.encoder.encode(list(table["text"]))
    assert (np.einsum("ij,ij->i", vectors, fresh) > 0.999).all()
    assert list(tmp_path.iterdir()) == [target]


def test_a_tenant_without_chunks_gets_an_empty_file(services: Services, tmp_path: Path) -> None:
    target = tmp_path / "none.parquet"
    assert export_chunks(services.database, "nobody", target) == 0
    assert list(pd.read_parquet(target).columns)[-1] == "embedding"
