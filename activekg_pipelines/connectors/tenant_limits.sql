-- name: tenants
-- Who has a connector or limits of its own, by id, after a cursor (the last id).
SELECT tenant_id FROM (
    SELECT tenant_id FROM connectors.connectors UNION SELECT tenant_id FROM connectors.tenant_limits
) known
WHERE %(after)s::text IS NULL OR tenant_id > %(after)s
ORDER BY tenant_id LIMIT %(limit)s

-- name: usage
-- Limits as they hold (the tenant's own, else the installation's; none for 0), and what
-- was used of them.
SELECT t.tenant_id,
    nullif(coalesce(l.connectors, %(connectors)s), 0) AS max_connectors,
    nullif(coalesce(l.objects, %(objects)s), 0) AS max_objects,
    nullif(coalesce(l.bytes_per_day, %(bytes_per_day)s), 0) AS max_bytes_per_day,
    l.tenant_id IS NOT NULL AS is_own,
    k.connectors, k.objects_over_limit,
    coalesce(u.bytes, 0) AS bytes_today,
    (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC'
        AS day_ends_at
FROM unnest(%(tenants)s::text[]) AS t (tenant_id)
LEFT JOIN connectors.tenant_limits l ON l.tenant_id = t.tenant_id
LEFT JOIN connectors.tenant_usage u
    ON u.day = (now() AT TIME ZONE 'UTC')::date AND u.tenant_id = t.tenant_id
CROSS JOIN LATERAL (
    SELECT count(*) AS connectors,
        coalesce(sum(c.objects_over_limit), 0)::bigint AS objects_over_limit
    FROM connectors.connectors c WHERE c.tenant_id = t.tenant_id
) k
ORDER BY t.tenant_id

-- name: set
INSERT INTO connectors.tenant_limits AS l (tenant_id, connectors, objects, bytes_per_day)
VALUES (%(tenant_id)s, %(connectors)s, %(objects)s, %(bytes_per_day)s)
ON CONFLICT (tenant_id) DO UPDATE SET
    connectors = coalesce(EXCLUDED.connectors, l.connectors),
    objects = coalesce(EXCLUDED.objects, l.objects),
    bytes_per_day = coalesce(EXCLUDED.bytes_per_day, l.bytes_per_day), updated_at = now()

-- name: clear
DELETE FROM connectors.tenant_limits WHERE tenant_id = %(tenant_id)s
