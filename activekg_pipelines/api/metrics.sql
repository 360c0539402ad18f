-- name: samples
-- Every sample of one scrape: name, tenant, provider, label, value. Gauges of one connector carry its name as the label.
--
-- What it costs, with a million objects in the ledger: no part of it reads more than it must.
--   counters       a few dozen rows a tenant, whatever was synced
--   queue depth    objects_queue, an index of what waits and of nothing else; at most %(most)s entries a connector and
--                  state, so that a first sync of a million objects costs milliseconds and shows as "that many or more"
--   oldest         its first entry for each connector and state
--   dead letters   objects_dead, skipping from code to code; at most %(most)s entries a connector and code
--   warnings       objects_warned, an index of objects with warnings and of nothing else; at most %(most)s entries a connector
--   live runs      runs_live, an index of those
--   all else       the connectors' own rows
WITH registered AS MATERIALIZED (
    SELECT id, tenant_id, provider, name, enabled, poll_interval_seconds, created_at, last_scan_completed_at,
        last_error_code, deletions_held_back, objects_over_limit
    FROM connectors.connectors
    WHERE %(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s
), queue AS (
    SELECT r.tenant_id, r.provider, s.state, r.enabled, depth.n, oldest.queued_at
    FROM registered r
    CROSS JOIN unnest(ARRAY['pending', 'extracted', 'failed']::connectors.object_state[]) AS s (state)
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (
            SELECT FROM connectors.objects o
            WHERE o.connector_id = r.id AND o.state = s.state
              AND o.state IN ('pending', 'extracted', 'failed') AND o.missing_since_scan IS NULL
            LIMIT %(most)s
        ) bounded
    ) depth
    LEFT JOIN LATERAL (
        SELECT o.queued_at FROM connectors.objects o
        WHERE o.connector_id = r.id AND o.state = s.state
          AND o.state IN ('pending', 'extracted', 'failed') AND o.missing_since_scan IS NULL
        ORDER BY o.queued_at LIMIT 1
    ) oldest ON true
), dead AS (
    SELECT r.tenant_id, r.provider, codes.error_code, letters.n
    FROM registered r
    CROSS JOIN LATERAL (
        WITH RECURSIVE present AS (
            (SELECT o.error_code FROM connectors.objects o
             WHERE o.connector_id = r.id AND o.state = 'dead' AND o.error_code IS NOT NULL
             ORDER BY o.error_code LIMIT 1)
            UNION ALL
            SELECT (SELECT o.error_code FROM connectors.objects o
                    WHERE o.connector_id = r.id AND o.state = 'dead' AND o.error_code > p.error_code
                    ORDER BY o.error_code LIMIT 1)
            FROM present p WHERE p.error_code IS NOT NULL
        )
        SELECT error_code FROM present WHERE error_code IS NOT NULL
    ) codes
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (
            SELECT FROM connectors.objects o
            WHERE o.connector_id = r.id AND o.state = 'dead' AND o.error_code = codes.error_code
            LIMIT %(most)s
        ) bounded
    ) letters
), warned AS (
    SELECT r.tenant_id, r.provider, alike.warnings, alike.n
    FROM registered r
    CROSS JOIN LATERAL (
        SELECT bounded.warnings, count(*) AS n FROM (
            SELECT o.warnings FROM connectors.objects o
            WHERE o.connector_id = r.id AND o.warnings <> '{}' LIMIT %(most)s
        ) bounded GROUP BY bounded.warnings
    ) alike
)
SELECT name, tenant_id, provider, label, value FROM connectors.counters
WHERE %(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s
UNION ALL
SELECT 'key_rotations', tenant_id, '', '', rotated FROM connectors.key_rotations
WHERE %(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s
UNION ALL
SELECT 'queue_depth', tenant_id, provider, state::text, sum(n)::float8 FROM queue GROUP BY tenant_id, provider, state
UNION ALL
-- Of what a run could take up: a retry waits on purpose, and nothing of a paused connector is taken up.
SELECT 'oldest_pending', tenant_id, provider, '',
    coalesce(extract(epoch FROM now() - min(queued_at) FILTER (WHERE enabled AND state <> 'failed')), 0)::float8
FROM queue GROUP BY tenant_id, provider
UNION ALL
SELECT 'dead_letters', tenant_id, provider, error_code, sum(n)::float8 FROM dead GROUP BY tenant_id, provider, error_code
UNION ALL
SELECT 'warnings', tenant_id, provider, kind, sum(n)::float8 FROM warned CROSS JOIN unnest(warnings) AS kind
GROUP BY tenant_id, provider, kind
UNION ALL
SELECT 'not_read_whole', tenant_id, provider, '', sum(n)::float8 FROM warned WHERE warnings && %(missing)s::text[]
GROUP BY tenant_id, provider
UNION ALL
SELECT 'runs_live', r.tenant_id, r.provider, l.status, count(*)::float8
FROM connectors.runs l JOIN registered r ON r.id = l.connector_id
WHERE l.status IN ('waiting', 'running') GROUP BY r.tenant_id, r.provider, l.status
UNION ALL
SELECT s.name, r.tenant_id, r.provider, r.name, s.value
FROM registered r
CROSS JOIN LATERAL (VALUES
    ('enabled', r.enabled::int::float8),
    ('held_back', r.deletions_held_back::float8),
    ('objects_over_limit', r.objects_over_limit::float8),
    -- Only of those that are polled: a paused connector is never late.
    ('registered_at', CASE WHEN r.enabled THEN extract(epoch FROM r.created_at)::float8 END),
    ('poll_interval', CASE WHEN r.enabled THEN r.poll_interval_seconds::float8 END),
    ('last_scan', CASE WHEN r.enabled THEN extract(epoch FROM r.last_scan_completed_at)::float8 END)
) AS s (name, value)
WHERE s.value IS NOT NULL
UNION ALL
-- Only tenants that have downloaded anything today.
SELECT 'bytes_limit_reached', r.tenant_id, r.provider, '',
    coalesce(connectors.bytes_left(u.tenant_id, %(bytes_per_day)s) <= 0, false)::int::float8
FROM connectors.tenant_usage u
JOIN (SELECT DISTINCT tenant_id, provider FROM registered) r ON r.tenant_id = u.tenant_id
WHERE u.day = (now() AT TIME ZONE 'UTC')::date
UNION ALL
SELECT 'error', tenant_id, provider, concat_ws(' ', name, last_error_code), 1
FROM registered WHERE last_error_code IS NOT NULL
