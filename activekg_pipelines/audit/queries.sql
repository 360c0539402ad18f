-- Reading -----------------------------------------------------------------------------

-- name: scan_status
-- How far the connector's scans are, to tell drift from what the next scan will find:
-- when the last completed scan began (none since the source changed), whether one is
-- under way, whether a limit keeps new objects out, and the versions that the last
-- search for outdated rows compared with.
SELECT c.generation,
    CASE WHEN c.last_scan_completed_at IS NOT NULL THEN (
        SELECT max(s.started_at) FROM connectors.scans s
        WHERE s.connector_id = c.id AND s.status = 'completed'
    ) END AS scanned_at,
    EXISTS (
        SELECT FROM connectors.scans s WHERE s.connector_id = c.id AND s.status = 'running'
    ) AS scanning,
    c.objects_over_limit > 0 AS over_limit, c.trusts_etags, c.versions
FROM connectors.connectors c WHERE c.id = %(connector_id)s

-- name: known
-- How many objects an audit will go through, for its progress.
SELECT count(*) FROM connectors.objects WHERE connector_id = %(connector_id)s AND state <> 'deleted'

-- name: window
-- The ledger's rows of a range of keys, each with its text, its document and its chunks.
-- Of objects that are under way only the row is read: their texts and documents change
-- with the next run.
WITH ledger AS MATERIALIZED (
    SELECT o.*, %(root)s || o.key AS external_id,
        coalesce(o.claimed_by IS NOT NULL AND o.claim_expires_at >= now(), false) AS claimed,
        o.state IN ('indexed', 'skipped', 'dead', 'deleted') AND o.missing_since_scan IS NULL
            AND coalesce(o.claimed_by IS NULL OR o.claim_expires_at < now(), true) AS settled
    FROM connectors.objects o
    WHERE o.connector_id = %(connector_id)s AND o.key > %(after)s COLLATE "C"
      AND (%(upto)s::text IS NULL OR o.key <= %(upto)s COLLATE "C")
    ORDER BY o.key LIMIT %(limit)s
), named AS MATERIALIZED (
    SELECT l.*, coalesce(l.document_id, CASE WHEN l.settled THEN (
        SELECT n.id FROM public.nodes n
        WHERE n.tenant_id = l.tenant_id AND n.external_id = l.external_id
    ) END) AS node_id
    FROM ledger l
)
SELECT o.id, o.key, o.etag, o.size, o.modified_at, o.arrived_etag, o.etag_is_digest,
    o.state::text AS state, o.settled, o.claimed,
    o.document_id, o.indexed_etag, o.indexed_text_hash, o.chunks, o.encoder_version,
    t.object_id IS NOT NULL AS has_text, CASE WHEN o.settled THEN t.text END AS text,
    t.text_hash, t.content_hash,
    d.id AS node_id, d.tenant_id AS node_tenant, d.classes AS node_classes,
    d.props - 'extraction' AS node_props,
    p.linked, p.dangling, p.other_tenant, p.without_vector, p.damaged_vectors, p.other_model,
    p.linked_chunks
FROM named o
LEFT JOIN connectors.texts t ON t.object_id = o.id
LEFT JOIN public.nodes d ON o.settled AND d.id = o.node_id
CROSS JOIN LATERAL (
    SELECT count(c.id) AS linked,
        count(*) FILTER (WHERE c.id IS NULL) AS dangling,
        count(c.id) FILTER (
            WHERE e.tenant_id IS DISTINCT FROM o.tenant_id
               OR c.tenant_id IS DISTINCT FROM o.tenant_id
        ) AS other_tenant,
        count(c.id) FILTER (WHERE c.embedding IS NULL) AS without_vector,
        -- Written so that NaN fails too: every encoder gives vectors of length 1.
        count(c.id) FILTER (WHERE c.embedding IS NOT NULL AND NOT (
            vector_dims(c.embedding) = %(dimensions)s
            AND vector_norm(c.embedding) BETWEEN 0.99 AND 1.01
        )) AS damaged_vectors,
        count(c.id) FILTER (
            WHERE c.props ->> 'embedding_model' IS DISTINCT FROM o.encoder_version
        ) AS other_model,
        jsonb_agg(jsonb_build_array(
            e.props -> 'chunk_index', e.props -> 'total_chunks',
            e.props -> 'char_start', e.props -> 'char_end',
            encode(sha256(convert_to(c.props ->> 'text', 'UTF8')), 'hex'), c.props ->> 'text_hash'
        )) FILTER (WHERE c.id IS NOT NULL) AS linked_chunks
    FROM public.edges e LEFT JOIN public.nodes c ON c.id = e.src
    WHERE o.settled AND e.dst = o.document_id AND e.rel = 'DERIVED_FROM'
      -- What others derived from the document is not ours.
      AND (c.id IS NULL OR c.props ->> 'parent_id' = o.external_id)
) p
ORDER BY o.key

-- name: recheck
-- Only what a listing is compared with.
SELECT key, etag, size, modified_at, arrived_etag, etag_is_digest, state::text AS state,
    state IN ('indexed', 'skipped', 'dead', 'deleted') AND missing_since_scan IS NULL
        AND coalesce(claimed_by IS NULL OR claim_expires_at < now(), true) AS settled
FROM connectors.objects WHERE connector_id = %(connector_id)s AND key = ANY(%(keys)s::text[])

-- name: graph_page
-- The next nodes of the tenant that have an external id, in the order of that index:
-- those of the connector that have no row in the ledger, and those that are not linked
-- to their document. One more row, without a difference, says how far the page goes and
-- how many nodes of the connector it holds.
WITH page AS MATERIALIZED (
    SELECT n.id, n.classes, n.external_id, n.props ->> 'parent_id' AS parent_id
    FROM public.nodes n
    WHERE n.tenant_id = %(tenant_id)s AND n.external_id > %(after)s
    ORDER BY n.external_id LIMIT %(limit)s
), documents AS (
    SELECT id, substr(external_id, length(%(root)s) + 1) AS key FROM page
    WHERE classes @> '{Document}' AND starts_with(external_id, %(root)s || %(prefix)s)
), chunks AS (
    SELECT p.id, p.parent_id, substr(p.parent_id, length(%(root)s) + 1) AS key,
        EXISTS (
            SELECT FROM public.edges e JOIN public.nodes d ON d.id = e.dst
            WHERE e.src = p.id AND e.rel = 'DERIVED_FROM' AND d.external_id = p.parent_id
        ) AS linked,
        ARRAY(
            SELECT e.dst FROM public.edges e
            WHERE e.src = p.id AND e.rel = 'DERIVED_FROM'
              AND NOT EXISTS (SELECT FROM public.nodes d WHERE d.id = e.dst)
        ) AS nowhere
    FROM page p
    WHERE p.classes @> '{Chunk}' AND starts_with(p.parent_id, %(root)s || %(prefix)s)
)
SELECT 'document_orphaned' AS difference, 1 AS count, d.key, NULL::bigint AS object_id,
    d.id AS node_id
FROM documents d
WHERE NOT EXISTS (
    SELECT FROM connectors.objects o
    WHERE o.connector_id = %(connector_id)s AND o.key = d.key COLLATE "C"
      AND (o.document_id IS NULL OR o.document_id = d.id)
)
UNION ALL
SELECT 'chunk_without_edge', 1, c.key, o.id, c.id
FROM chunks c
LEFT JOIN connectors.objects o ON o.connector_id = %(connector_id)s AND o.key = c.key COLLATE "C"
WHERE NOT c.linked AND c.nowhere = '{}'
UNION ALL
SELECT 'edge_without_document', cardinality(c.nowhere), c.key, o.id, c.id
FROM chunks c
LEFT JOIN connectors.objects o ON o.connector_id = %(connector_id)s AND o.key = c.key COLLATE "C"
-- A run that is about to write the document again gives these edges their end back.
WHERE c.nowhere <> '{}' AND NOT (
    coalesce(o.state IN ('pending', 'extracted', 'failed'), false)
    AND c.nowhere = ARRAY[o.document_id]
)
UNION ALL
SELECT NULL, (SELECT count(*) FROM documents) + (SELECT count(*) FROM chunks),
    max(external_id), count(*), NULL
FROM page

-- name: sample
-- Some chunks of indexed documents, at random, whose vectors the model in use should
-- make again.
SELECT o.id, o.key, c.id, c.props ->> 'text', c.embedding
FROM (
    SELECT o.id, o.key, e.src FROM connectors.objects o
    JOIN public.edges e ON e.dst = o.document_id AND e.rel = 'DERIVED_FROM'
    WHERE o.connector_id = %(connector_id)s AND o.state = 'indexed'
    ORDER BY random() LIMIT %(limit)s
) o
JOIN public.nodes c ON c.id = o.src
WHERE c.tenant_id = %(tenant_id)s AND c.props ->> 'parent_id' = %(root)s || o.key
  AND c.props ->> 'embedding_model' = %(encoder)s AND c.props ->> 'text' IS NOT NULL
  AND vector_dims(c.embedding) = %(dimensions)s AND vector_norm(c.embedding) > 0

-- Repair ------------------------------------------------------------------------------

-- name: hold
-- Locks those of the objects that no run holds and that nothing has queued since, in
-- key order as everybody does. A run that writes one of them at this moment is waited
-- for.
SELECT id, key, {object_state} AS state,
    EXISTS (SELECT FROM connectors.texts t WHERE t.object_id = o.id) AS has_text
FROM connectors.objects o
WHERE id = ANY(%(ids)s::bigint[]) AND missing_since_scan IS NULL
  AND (claimed_by IS NULL OR claim_expires_at < now())
ORDER BY key FOR UPDATE

-- name: drop_misplaced
-- Nodes of the documents that carry another tenant or class: a swap would leave them as
-- they are.
DELETE FROM public.nodes n
USING unnest(%(documents)s::uuid[], %(external_ids)s::text[]) AS d (id, external_id)
WHERE n.id = d.id AND (n.tenant_id IS DISTINCT FROM %(tenant_id)s OR NOT n.classes @> '{Document}')
   OR n.props ->> 'parent_id' = d.external_id
      AND n.id IN (SELECT e.src FROM public.edges e WHERE e.dst = d.id AND e.rel = 'DERIVED_FROM')
      AND (n.tenant_id IS DISTINCT FROM %(tenant_id)s OR NOT n.classes @> '{Chunk}')

-- name: drop_broken_edges
-- Edges at the documents that begin at no node, and those of their chunks that carry
-- another tenant.
DELETE FROM public.edges e
USING unnest(%(documents)s::uuid[], %(external_ids)s::text[]) AS d (id, external_id)
WHERE e.dst = d.id AND e.rel = 'DERIVED_FROM' AND (
    NOT EXISTS (SELECT FROM public.nodes c WHERE c.id = e.src)
    OR e.tenant_id IS DISTINCT FROM %(tenant_id)s
       AND EXISTS (
           SELECT FROM public.nodes c
           WHERE c.id = e.src AND c.props ->> 'parent_id' = d.external_id
       )
)

-- name: invalidate_vectors
-- Takes the model from chunks whose vector is missing or damaged, whose text was edited,
-- or that are named. So nothing reuses these vectors, no run stops because the model
-- makes others, and the swap writes the chunk again.
UPDATE public.nodes n SET props = n.props - 'embedding_model'
FROM unnest(%(documents)s::uuid[], %(external_ids)s::text[]) AS d (id, external_id)
JOIN public.edges e ON e.dst = d.id AND e.rel = 'DERIVED_FROM'
WHERE n.id = e.src AND n.props ->> 'parent_id' = d.external_id AND n.tenant_id = %(tenant_id)s AND (
    n.embedding IS NULL OR n.id = ANY(%(wrong)s::uuid[])
    OR n.props ->> 'text_hash'
       IS DISTINCT FROM encode(sha256(convert_to(n.props ->> 'text', 'UTF8')), 'hex')
    OR NOT (
        vector_dims(n.embedding) = %(dimensions)s
        AND vector_norm(n.embedding) BETWEEN 0.99 AND 1.01
    )
)

-- name: drop_released
-- Kept copies of vectors that turned out to be wrong.
DELETE FROM connectors.released_embeddings r USING public.nodes n
WHERE n.id = ANY(%(wrong)s::uuid[]) AND r.tenant_id = %(tenant_id)s
  AND r.text_hash = n.props ->> 'text_hash'

-- name: requeue
-- Objects whose text is sound are indexed again from it; the others are fetched again,
-- equal bytes or not.
WITH texts_outdated AS (
    UPDATE connectors.texts t SET extractor_version = {to_be_read_again}
    WHERE t.object_id = ANY(%(fetch)s::bigint[])
)
UPDATE connectors.objects SET
    state = CASE
        WHEN id = ANY(%(fetch)s::bigint[]) THEN 'pending' ELSE 'extracted'
    END::connectors.object_state,
    attempts = 0, deaths = 0, next_attempt_at = NULL, error_code = NULL, error_message = NULL,
    claimed_by = NULL, claim_expires_at = NULL
WHERE id = ANY(%(fetch)s::bigint[]) OR id = ANY(%(index)s::bigint[])

-- name: drop_texts
WITH warned AS (
    UPDATE connectors.objects SET warnings = '{}'
    WHERE id = ANY(%(ids)s::bigint[]) AND warnings <> '{}'
)
DELETE FROM connectors.texts WHERE object_id = ANY(%(ids)s::bigint[])

-- name: drop_unlinked_chunks
-- Chunks that no edge links to a document of theirs, whatever else changed meanwhile;
-- with their edges.
WITH unlinked AS (
    SELECT n.id FROM public.nodes n
    WHERE n.id = ANY(%(ids)s::uuid[]) AND n.tenant_id = %(tenant_id)s AND NOT EXISTS (
        SELECT FROM public.edges e JOIN public.nodes d ON d.id = e.dst
        WHERE e.src = n.id AND e.rel = 'DERIVED_FROM' AND d.external_id = n.props ->> 'parent_id'
    )
    FOR UPDATE
), edges_removed AS (
    DELETE FROM public.edges e USING unlinked u WHERE e.src = u.id OR e.dst = u.id
)
DELETE FROM public.nodes n USING unlinked u WHERE n.id = u.id

-- name: drop_dangling_edges
DELETE FROM public.edges e
WHERE e.src = ANY(%(ids)s::uuid[]) AND e.rel = 'DERIVED_FROM'
  AND NOT EXISTS (SELECT FROM public.nodes d WHERE d.id = e.dst)

-- name: still_orphaned
-- Those of the documents that have no row in the ledger now.
SELECT n.id FROM public.nodes n
WHERE n.id = ANY(%(ids)s::uuid[]) AND n.tenant_id = %(tenant_id)s AND NOT EXISTS (
    SELECT FROM connectors.objects o
    WHERE o.connector_id = %(connector_id)s AND o.key = substr(n.external_id, length(%(root)s) + 1)
      AND (o.document_id IS NULL OR o.document_id = n.id)
)
FOR UPDATE
