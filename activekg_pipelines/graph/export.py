"""Writes a tenant's chunks with their vectors into a Parquet file.

It is for notebooks, evaluations and other vector stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from activekg_pipelines.database.pool import Database, let_idle
from activekg_pipelines.database.queries import load_queries

if TYPE_CHECKING:
    import pyarrow as pa

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
# Rows read at a time, and written as one row group: about 10 MB with their vectors,
# however large the tenant is.
_BATCH = 4096


def export_chunks(database: Database, tenant_id: str, target: Path) -> int:
    """Export every chunk of a tenant, all as of the same moment.

    Columns: ``uri``, ``title``, ``etag``, ``chunk_index``, ``char_start``,
    ``char_end``, ``page_from``, ``page_to``, ``headings``, ``table_head``, ``text``,
    ``embedding_model`` and ``embedding``, a list of float32.

    Args:
        target: file to write. An existing one is replaced when the export is complete.

    Returns:
        How many chunks were written.
    """
    import pyarrow.parquet as pq

    partial = target.with_name(target.name + ".partial")
    rows = 0
    try:
        with pq.ParquetWriter(partial, _schema(), compression="zstd") as writer:
            for batch in _batches(database, tenant_id):
                writer.write_batch(batch)
                rows += batch.num_rows
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("uri", pa.string()),
            ("title", pa.string()),
            ("etag", pa.string()),
            ("chunk_index", pa.int32()),
            ("char_start", pa.int64()),
            ("char_end", pa.int64()),
            ("page_from", pa.int32()),
            ("page_to", pa.int32()),
            ("headings", pa.list_(pa.string())),
            ("table_head", pa.string()),
            ("text", pa.large_string()),
            ("embedding_model", pa.string()),
            ("embedding", pa.list_(pa.float32())),
        ]
    )


def _batches(database: Database, tenant_id: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    schema = _schema()
    with (
        database.transaction(tenant_id=tenant_id) as conn,
        conn.cursor(name="export_chunks") as cursor,
    ):
        let_idle(conn)
        cursor.itersize = _BATCH
        cursor.execute(_SQL["export_chunks"], {"tenant_id": tenant_id}, binary=True)
        while rows := cursor.fetchmany(_BATCH):
            *columns, vectors = zip(*rows, strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=False)
            ]
            arrays.append(
                pa.array([vector.to_numpy() for vector in vectors], schema.field("embedding").type)
            )
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
