-- name: forget_scans
-- History, not truth: of each connector's scans the newest hundred are kept.
DELETE FROM connectors.scans WHERE id IN (
    SELECT id FROM connectors.scans
    WHERE connector_id = %(connector_id)s AND status <> 'running' AND id < (
        SELECT min(id) FROM (
            SELECT id FROM connectors.scans WHERE connector_id = %(connector_id)s ORDER BY id DESC LIMIT 100
        ) newest
    )
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)

-- name: forget_runs
-- And of its syncs those of the last ninety days, with whatever still waits or runs.
DELETE FROM connectors.runs WHERE id IN (
    SELECT id FROM connectors.runs
    WHERE connector_id = %(connector_id)s AND requested_at < now() - interval '90 days'
      AND status NOT IN ('waiting', 'running')
    ORDER BY requested_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)

-- name: forget_usage
-- Bytes that a connector's tenant downloaded on days as long ago.
DELETE FROM connectors.tenant_usage
WHERE day < now() - interval '90 days'
  AND tenant_id = (SELECT tenant_id FROM connectors.connectors WHERE id = %(connector_id)s)

-- name: forget_departed_usage
-- The same for tenants that have no connector any more.
DELETE FROM connectors.tenant_usage WHERE day < now() - interval '90 days'

-- name: connectors
SELECT id FROM connectors.connectors ORDER BY id

-- name: forget_deleted
-- Objects that were gone from their bucket for long, among the next rows of the ledger: read along the primary key, page
-- by page, so that no index has to be kept for a look a day. Returns the page's last id and how many went.
WITH page AS (
    SELECT max(id) AS last FROM (
        SELECT id FROM connectors.objects WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
    ) next
), gone AS (
    SELECT o.id FROM connectors.objects o, page p
    WHERE o.id > %(after)s AND o.id <= p.last AND o.state = 'deleted'
      AND o.detected_at < now() - make_interval(days => %(days)s)
    ORDER BY o.key FOR UPDATE OF o SKIP LOCKED
), forgotten AS (
    DELETE FROM connectors.objects o USING gone WHERE o.id = gone.id RETURNING o.id
)
SELECT (SELECT last FROM page), (SELECT count(*) FROM forgotten)
