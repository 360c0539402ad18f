-- name: record
INSERT INTO connectors.actions
    (tenant_id, actor, via, by_operator, action, connector_id, partition_key, details)
VALUES
    (%(tenant_id)s, %(actor)s, %(via)s, %(by_operator)s, %(action)s, %(connector_id)s,
     %(partition_key)s, %(details)s)

-- name: record_each
-- The same action, done to several tenants.
INSERT INTO connectors.actions (tenant_id, actor, via, by_operator, action, details)
SELECT done.tenant_id, %(actor)s, %(via)s, %(by_operator)s, %(action)s, done.details
FROM unnest(%(tenants)s::text[], %(details)s::jsonb[]) AS done (tenant_id, details)

-- name: page
-- Newest first, after a cursor (the last row's id).
SELECT id, at, tenant_id, actor, via, by_operator, action, connector_id, partition_key, details
FROM connectors.actions
WHERE (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(connector_id)s::uuid IS NULL OR connector_id = %(connector_id)s)
  AND (%(action)s::text IS NULL OR action = %(action)s)
  AND (%(after)s::bigint IS NULL OR id < %(after)s)
ORDER BY id DESC
LIMIT %(limit)s
