-- name: compare_page
-- Compares one page of the listing with the ledger's rows of the same keys, by class, kind
-- and whether bytes must be fetched. The order of the cases is the order in which a sync
-- decides; a change here follows ledger/queries.sql.
WITH listed AS (
    SELECT * FROM unnest(
        %(keys)s::text[], %(etags)s::text[], %(sizes)s::bigint[], %(modified)s::timestamptz[],
        %(archived)s::bool[], %(kinds)s::text[], %(skips)s::bool[]
    ) AS l (key, etag, size, modified_at, is_archived, kind, skip)
), compared AS (
    SELECT l.key, l.size, l.kind,
        o.id IS NULL OR o.state = 'deleted' AS is_new,
        CASE
            WHEN (o.id IS NULL OR o.state = 'deleted' OR {is_changed}) AND l.skip THEN 'skip'
            WHEN o.id IS NULL OR o.state = 'deleted' THEN 'add'
            WHEN {is_changed} OR {is_restored} THEN 'update'
            WHEN o.state = 'pending' OR o.state = 'failed' AND o.next_attempt_at <= now()
                THEN 'waiting'
            WHEN o.state = 'extracted'
                AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= now()) THEN 'waiting'
            WHEN %(upgraded)s AND o.state = 'indexed' AND t.object_id IS NOT NULL AND (
                t.extractor_version <> %(extractor)s
                OR (o.chunker_version, o.encoder_version)
                    IS DISTINCT FROM (%(chunker)s::text, %(encoder)s::text)
            ) THEN 'outdated'
            ELSE 'unchanged'
        END AS class,
        -- If the text is stored and the current extractor made it, nothing is fetched.
        o.id IS NULL OR {is_changed} OR o.state NOT IN ('extracted', 'indexed')
            OR %(upgraded)s AND t.extractor_version <> %(extractor)s AS must_fetch
    FROM listed l
    LEFT JOIN connectors.objects o
        ON o.connector_id = %(connector_id)s AND o.key = l.key COLLATE "C"
    LEFT JOIN connectors.texts t ON t.object_id = o.id
)
SELECT class, kind, must_fetch AND class IN ('add', 'update', 'waiting', 'outdated'),
    count(*), sum(size)::bigint, count(*) FILTER (WHERE is_new),
    (array_agg(key ORDER BY key COLLATE "C"))[:%(sample)s]
FROM compared GROUP BY 1, 2, 3

-- name: missing_in_range
-- Objects of the page's key range that the ledger holds and the page does not.
WITH missing AS NOT MATERIALIZED (
    SELECT o.key, o.size FROM connectors.objects o
    WHERE o.connector_id = %(connector_id)s
      AND o.key > %(start_after)s AND (%(is_last)s OR o.key <= %(upto)s)
      AND o.state <> 'deleted'
      AND NOT EXISTS (
          SELECT FROM unnest(%(keys)s::text[]) AS l (key) WHERE l.key COLLATE "C" = o.key
      )
)
SELECT count(*), coalesce(sum(size), 0)::bigint,
    ARRAY(SELECT key FROM missing ORDER BY key LIMIT %(sample)s)
FROM missing

-- name: count_known
SELECT count(*) FROM connectors.objects WHERE connector_id = %(connector_id)s AND state <> 'deleted'

-- name: is_upgraded
-- Whether the next completed scan looks for rows that other versions made.
SELECT versions
    IS DISTINCT FROM concat_ws(' ', %(extractor)s::text, %(chunker)s::text, %(encoder)s::text)
FROM connectors.connectors WHERE id = %(connector_id)s

-- name: chunk_density
-- Chunks and bytes of indexed documents by kind: of one connector, or of all of its
-- tenant's.
SELECT lower(substring(o.key FROM '\.([A-Za-z0-9]{1,10})$')), count(*),
    sum(o.size)::float8, sum(o.chunks)::float8
FROM connectors.objects o
WHERE o.tenant_id = %(tenant_id)s
  AND (%(connector_id)s::uuid IS NULL OR o.connector_id = %(connector_id)s)
  AND o.state = 'indexed' AND o.chunks > 0 AND o.size > 0
GROUP BY 1

-- name: pace
-- Seconds and chunks of the newest runs that indexed anything.
SELECT count(*), sum(seconds)::float8, sum(chunks)::float8 FROM (
    SELECT extract(epoch FROM r.finished_at - r.started_at) AS seconds, r.chunks
    FROM connectors.runs r
    WHERE r.tenant_id = %(tenant_id)s
      AND (%(connector_id)s::uuid IS NULL OR r.connector_id = %(connector_id)s)
      AND r.status = 'succeeded' AND r.chunks > 0 AND r.finished_at > r.started_at
    ORDER BY r.requested_at DESC LIMIT 50
) newest
