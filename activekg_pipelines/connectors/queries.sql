-- name: lock_tenant
-- Serialises the registrations of one tenant, so that two overlapping ones cannot both
-- pass the check.
SELECT pg_advisory_xact_lock(hashtextextended('connectors/' || %(tenant_id)s, 0))

-- name: connector_limit
-- How many connectors a tenant has, and how many it may have: its own limit, or else the
-- installation's. 0 means no limit.
SELECT count(*), nullif(coalesce(
    (SELECT connectors FROM connectors.tenant_limits WHERE tenant_id = %(tenant_id)s),
    %(max_connectors)s::bigint
), 0)
FROM connectors.connectors WHERE tenant_id = %(tenant_id)s

-- name: locations
-- What the tenant has registered already. Two providers may name their objects alike.
SELECT id, name, location FROM connectors.connectors
WHERE tenant_id = %(tenant_id)s

-- name: insert
INSERT INTO connectors.connectors (
    id, tenant_id, provider, name, partition_key, config, location, poll_interval_seconds, enabled,
    delete_guard_percent, secrets, kek_version, secret_hints
) VALUES (
    %(id)s, %(tenant_id)s, %(provider)s, %(name)s, %(partition_key)s, %(config)s, %(location)s,
    %(poll_interval_seconds)s, %(enabled)s, %(delete_guard_percent)s,
    %(secrets)s, %(kek_version)s, %(secret_hints)s
)

-- name: lock
-- Serialises the changes of one connector: each writes every column, and must have read
-- what the other one wrote.
SELECT id FROM connectors.connectors WHERE id = %(id)s FOR UPDATE

-- name: select
-- One tenant's connector, or anybody's when no tenant is given.
SELECT * FROM connectors.connectors
WHERE id = %(id)s AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)

-- name: select_by_partition
SELECT * FROM connectors.connectors WHERE partition_key = %(partition_key)s

-- name: page
-- Oldest first, after a cursor (the last row's created_at and id).
SELECT * FROM connectors.connectors
WHERE (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (
      %(after_time)s::timestamptz IS NULL
      OR (created_at, id) > (%(after_time)s, %(after_id)s::uuid)
  )
ORDER BY created_at, id
LIMIT %(limit)s

-- name: tenants
-- Every tenant with an enabled connector, and its smallest poll interval in seconds.
SELECT tenant_id, min(poll_interval_seconds) FROM connectors.connectors
WHERE enabled GROUP BY tenant_id ORDER BY tenant_id

-- name: due_for_poll
-- The tenant's connectors whose interval has passed or whose scan is under way, without
-- those whose source does not answer and whose polls are delayed. A tick may come a little
-- early. So a tenth of the interval may be missing: otherwise the connector would wait for
-- one more interval.
SELECT c.* FROM connectors.connectors c
WHERE c.tenant_id = %(tenant_id)s AND c.enabled
  AND (c.polls_paused_until IS NULL OR c.polls_paused_until <= now()) AND (
    c.last_scan_started_at IS NULL
    OR c.last_scan_started_at <= now() - make_interval(secs => c.poll_interval_seconds * 0.9)
    OR EXISTS (SELECT FROM connectors.scans s WHERE s.connector_id = c.id AND s.status = 'running')
)
-- The run that lists a connector for the first time does so alone: a tick beside it would
-- make a second row of history.
AND (c.last_scan_completed_at IS NOT NULL OR NOT EXISTS (
    SELECT FROM connectors.runs r
    WHERE r.connector_id = c.id AND r.with_scan AND r.status IN ('waiting', 'running')
))
-- One that failed comes last: an endpoint that hangs must not use up the tick before the others.
ORDER BY c.last_error_code IS NOT NULL, c.last_scan_started_at NULLS FIRST

-- name: turned_listings
-- Connectors of which Dagster was told something else, or nothing, about their last
-- completed listing. Until one that was changed is listed, its check stays as it was.
SELECT c.id, c.partition_key, l.in_time, c.last_scan_completed_at AS completed_at,
    c.poll_interval_seconds, c.last_error_message AS last_error
FROM connectors.connectors c CROSS JOIN LATERAL (
    SELECT CASE
        WHEN {listing_is_in_time} THEN true
        WHEN {listing_is_late} THEN false
        ELSE c.listed_in_time
    END AS in_time
) l
WHERE c.enabled AND l.in_time IS DISTINCT FROM c.listed_in_time
ORDER BY c.id LIMIT %(limit)s

-- name: note_listings
UPDATE connectors.connectors c SET listed_in_time = t.in_time
FROM unnest(%(ids)s::uuid[], %(in_time)s::boolean[]) AS t (id, in_time) WHERE c.id = t.id

-- name: update
UPDATE connectors.connectors SET
    config = %(config)s, location = %(location)s,
    -- Another source may list otherwise.
    lists_in_order = lists_in_order OR %(moved)s, trusts_etags = trusts_etags OR %(moved)s,
    -- Another configuration may reach another store, and the same one may be mended.
    store_notes = '{}',
    poll_interval_seconds = %(poll_interval_seconds)s, enabled = %(enabled)s,
    delete_guard_percent = %(delete_guard_percent)s,
    secrets = coalesce(%(secrets)s, secrets), kek_version = coalesce(%(kek_version)s, kek_version),
    secret_hints = coalesce(%(secret_hints)s, secret_hints),
    last_error_code = NULL, last_error_message = NULL, last_error_at = NULL, failed_runs = 0,
    runs_paused_until = NULL, runs_held = runs_held AND enabled = %(enabled)s,
    failed_polls = 0, polls_paused_until = NULL, updated_at = now()
WHERE id = %(id)s
RETURNING *

-- name: delete
DELETE FROM connectors.connectors WHERE id = %(id)s

-- name: secrets
SELECT provider, secrets, kek_version FROM connectors.connectors WHERE id = %(id)s

-- name: sort_listing
UPDATE connectors.connectors SET lists_in_order = false WHERE id = %(id)s AND lists_in_order

-- name: distrust_etags
UPDATE connectors.connectors SET trusts_etags = false WHERE id = %(id)s AND trusts_etags
-- name: note_store
UPDATE connectors.connectors SET store_notes = ARRAY(
    SELECT DISTINCT note FROM unnest(store_notes || %(notes)s::text[]) AS note ORDER BY note
)
WHERE id = %(id)s AND updated_at = %(updated_at)s AND NOT store_notes @> %(notes)s::text[]

-- name: record_error
-- Written only when something changes: a connector that fails at every poll does not
-- rewrite its row for ever.
UPDATE connectors.connectors
SET last_error_code = %(code)s, last_error_message = %(message)s, last_error_at = now()
WHERE id = %(id)s AND (last_error_code, last_error_message) IS DISTINCT FROM (%(code)s, %(message)s)

-- name: delay_polls
UPDATE connectors.connectors SET
    failed_polls = failed_polls + 1, polls_paused_until = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s

-- name: resume_polls
UPDATE connectors.connectors SET failed_polls = 0, polls_paused_until = NULL
WHERE id = %(id)s AND failed_polls > 0

-- name: confirm_deletions
UPDATE connectors.connectors SET deletions_confirmed = deletions_held_back
WHERE id = %(id)s AND deletions_held_back > 0
RETURNING deletions_held_back

-- name: secrets_of_old_versions
-- The next connectors, by id, whose secrets another key than the active one encrypted.
SELECT id, provider, secrets, kek_version FROM connectors.connectors
WHERE kek_version <> %(active)s
  AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(after)s::uuid IS NULL OR id > %(after)s)
ORDER BY id LIMIT %(limit)s

-- name: replace_secrets
-- Only where the secrets have not changed since they were read: new credentials must not
-- be replaced by old ones that were encrypted again.
-- The credentials stay the same, so updated_at does too, and running syncs keep their clients.
WITH replaced AS (
    UPDATE connectors.connectors c SET secrets = i.new, kek_version = %(active)s
    FROM unnest(%(ids)s::uuid[], %(old)s::bytea[], %(versions)s::int[], %(new)s::bytea[])
        AS i (id, old, version, new)
    WHERE c.id = i.id AND c.kek_version = i.version AND c.secrets = i.old
    RETURNING c.tenant_id
), counted AS (
    INSERT INTO connectors.key_rotations AS k (tenant_id, rotated)
    SELECT tenant_id, count(*) FROM replaced GROUP BY tenant_id ORDER BY tenant_id
    ON CONFLICT (tenant_id) DO UPDATE SET rotated = k.rotated + EXCLUDED.rotated
)
SELECT tenant_id, count(*) FROM replaced GROUP BY tenant_id ORDER BY tenant_id

-- name: count_old_versions
SELECT count(*) FROM connectors.connectors
WHERE kek_version <> %(active)s
  AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
