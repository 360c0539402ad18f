-- part: select_runs
SELECT r.id, r.connector_id, r.tenant_id, r.trigger, r.mode, {run_status} AS status,
    r.cancelled_by, r.launch_error, {waits_for} AS waits_for,
    r.requested_at, r.started_at, r.finished_at,
    extract(epoch FROM coalesce(r.finished_at, now()) - r.started_at)::float8 AS duration_seconds,
    {run_counters},
    r.errors, r.dagster_run_id
FROM connectors.runs r

-- part: waits_for
CASE WHEN r.status = 'waiting' THEN coalesce(r.waits_for, CASE WHEN r.emitted_at IS NULL
    THEN 'the sensor work_queue, which asks Dagster for a run'
    ELSE 'Dagster''s daemon, which makes the run' END) END

-- name: runs
-- Newest first, after a cursor (the last row's requested_at and id).
{select_runs}
WHERE (%(tenant_id)s::text IS NULL OR r.tenant_id = %(tenant_id)s)
  AND (%(connector_id)s::uuid IS NULL OR r.connector_id = %(connector_id)s)
  AND (%(status)s::text IS NULL OR {run_status} = %(status)s)
  AND (%(since)s::timestamptz IS NULL OR r.requested_at >= %(since)s)
  AND (%(after_time)s::timestamptz IS NULL
       OR (r.requested_at, r.id) < (%(after_time)s, %(after_id)s::uuid))
ORDER BY r.requested_at DESC, r.id DESC
LIMIT %(limit)s

-- name: run
{select_runs}
WHERE r.id = %(id)s

-- name: waits_for
SELECT {waits_for} FROM connectors.runs r
WHERE r.connector_id = %(connector_id)s AND r.status = 'waiting'
ORDER BY r.requested_at LIMIT 1

-- name: objects
-- By key, after a cursor (the last row's key).
SELECT o.key, o.etag, o.size, o.modified_at, {object_state} AS state, o.detected_at, o.attempts,
    o.deaths,
    o.next_attempt_at,
    o.error_code, o.error_message, o.document_id, o.indexed_etag, o.indexed_at, o.chunks,
    CASE WHEN o.warnings <> '{}' THEN (
        SELECT t.facts -> 'warnings' FROM connectors.texts t WHERE t.object_id = o.id
    ) END AS stored_warnings
FROM connectors.objects o
WHERE o.connector_id = %(connector_id)s
  AND (%(state)s::text IS NULL OR {object_state} = %(state)s)
  AND (%(error_type)s::text IS NULL OR o.error_code = %(error_type)s)
  -- That there are any, too, because the index of objects with warnings holds no others.
  AND (%(warning)s::text IS NULL OR o.warnings <> '{}' AND o.warnings @> ARRAY[%(warning)s::text])
  AND (NOT %(not_read_whole)s::bool OR o.warnings <> '{}' AND o.warnings && %(missing)s::text[])
  AND (%(after)s::text IS NULL OR o.key > %(after)s COLLATE "C")
ORDER BY o.key
LIMIT %(limit)s

-- name: credentials_by_key_version
-- One ciphertext for each key version in use: whoever can read these can read all.
SELECT DISTINCT ON (kek_version) provider, id, secrets, kek_version,
    count(*) OVER (PARTITION BY kek_version) AS connectors
FROM connectors.connectors ORDER BY kek_version, id

-- name: configurations
-- What sources are configured with, without secrets, and whose they are.
SELECT provider, config, array_agg(partition_key) AS partition_keys FROM connectors.connectors
GROUP BY provider, config ORDER BY min(partition_key)

-- name: troubles
-- What of enabled connectors needs somebody, by kind: the first so many connectors, what is
-- wrong with each, and how many connectors there are. Dead letters are counted up to a
-- bound, in an index of theirs.
WITH troubles AS (
    SELECT 'errors' AS kind, c.partition_key,
        c.last_error_code || ': ' || c.last_error_message AS trouble
    FROM connectors.connectors c WHERE c.enabled AND c.last_error_code IS NOT NULL
    UNION ALL
    SELECT 'dead_letters', c.partition_key, d.letters::text
    FROM connectors.connectors c CROSS JOIN LATERAL (
        SELECT count(*) AS letters FROM (
            SELECT FROM connectors.objects o
            -- Two ranges of the index: what is archived needs nobody, and may be a million.
            WHERE o.connector_id = c.id AND o.state = 'dead'
              AND (o.error_code < 'archived' OR o.error_code > 'archived')
            LIMIT %(most)s
        ) bounded
    ) d
    WHERE c.enabled AND d.letters > 0
    UNION ALL
    SELECT 'held_deletions', c.partition_key, c.deletions_held_back::text
    FROM connectors.connectors c
    WHERE c.enabled AND c.deletions_held_back > c.deletions_confirmed
    UNION ALL
    SELECT 'late_listings', c.partition_key,
        coalesce(to_char(c.last_scan_completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), 'never')
    FROM connectors.connectors c WHERE c.enabled AND {listing_is_late}
)
SELECT partition_key, trouble, connectors FROM (
    SELECT t.*, count(*) OVER () AS connectors,
        row_number() OVER (ORDER BY t.partition_key COLLATE "C") AS nth
    FROM troubles t WHERE kind = %(kind)s
) counted
WHERE nth <= %(shown)s ORDER BY nth

-- name: lock_connector
-- Nothing can be added to the connector's ledger until the transaction ends: a new row
-- needs a share of this lock.
SELECT id FROM connectors.connectors
WHERE id = %(connector_id)s AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
FOR UPDATE

-- name: stop_scans
-- A listing of another source, or of a connector that goes, must not be carried on.
UPDATE connectors.scans s SET status = 'failed', finished_at = now(), updated_at = now()
FROM connectors.connectors c
WHERE c.id = s.connector_id AND s.connector_id = %(connector_id)s AND s.status = 'running'
  AND (%(tenant_id)s::text IS NULL OR c.tenant_id = %(tenant_id)s)

-- name: newest_object
-- Where a removal in batches ends, so that it ends: what a scan adds meanwhile has
-- higher ids.
SELECT coalesce(max(id), 0) FROM connectors.objects WHERE connector_id = %(connector_id)s

-- name: lock_objects
-- The connector's objects, all or those outside a prefix, with their documents: the
-- first so many up to an id. Locked, because a run's swap that is under way must end
-- before its document is counted; whoever comes later finds its lease gone.
SELECT id, document_id FROM connectors.objects
WHERE connector_id = %(connector_id)s
  AND (%(keep_prefix)s::text IS NULL OR NOT starts_with(key, %(keep_prefix)s))
  AND (%(upto)s::bigint IS NULL OR id <= %(upto)s)
ORDER BY id LIMIT %(limit)s
FOR UPDATE

-- name: count_documents
-- Documents made of the connector's objects outside a prefix.
SELECT count(document_id) FROM connectors.objects
WHERE connector_id = %(connector_id)s
  AND (%(keep_prefix)s::text IS NULL OR NOT starts_with(key, %(keep_prefix)s))

-- name: forget_objects
DELETE FROM connectors.objects WHERE id = ANY(%(ids)s::bigint[])

-- name: fence
-- Whoever read the connector before gets nothing more to do; nobody polls it for an
-- interval, or at all once it is paused.
UPDATE connectors.connectors
SET generation = generation + 1, last_scan_started_at = now(), enabled = enabled AND NOT %(pause)s
WHERE id = %(connector_id)s

-- name: expect_first_scan
-- As after registration: the next look of the work queue lists the source at once.
UPDATE connectors.connectors SET
    last_scan_started_at = NULL, last_scan_completed_at = NULL,
    deletions_held_back = 0, deletions_confirmed = 0,
    generation = generation + 1
WHERE id = %(connector_id)s

-- name: replay_dead_letters
UPDATE connectors.objects o SET
    state = 'pending', attempts = 0, deaths = 0, next_attempt_at = NULL,
    error_code = NULL, error_message = NULL, found_by = NULL,
    claimed_by = NULL, claim_expires_at = NULL
WHERE connector_id = %(connector_id)s AND state = 'dead' AND NOT {is_archived}
  AND (%(keys)s::text[] IS NULL OR key = ANY(%(keys)s::text[]))
  AND (%(error_type)s::text IS NULL OR error_code = %(error_type)s)

-- name: requeue_objects
-- Also takes the objects away from a run that works on them: its write no longer
-- counts. Equal bytes are extracted and written again, or this would do nothing for a
-- document that is damaged in the graph.
WITH texts_outdated AS (
    UPDATE connectors.texts t SET extractor_version = {to_be_read_again}
    FROM connectors.objects o
    WHERE t.object_id = o.id AND o.connector_id = %(connector_id)s AND o.key = ANY(%(keys)s::text[])
)
UPDATE connectors.objects SET
    state = 'pending', attempts = 0, deaths = 0, next_attempt_at = NULL,
    error_code = NULL, error_message = NULL, found_by = NULL,
    claimed_by = NULL, claim_expires_at = NULL
WHERE connector_id = %(connector_id)s AND key = ANY(%(keys)s::text[]) AND state <> 'deleted'
