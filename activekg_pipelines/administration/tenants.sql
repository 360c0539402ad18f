-- name: tables
-- Every table that has a tenant, whether it is this package's or the graph's, and the
-- tables that refer to it. From the catalog, so that a new table cannot be forgotten.
-- The whole database may be an application's: its own tables are named and never touched.
SELECT n.nspname, c.relname,
    n.nspname = 'connectors' OR (n.nspname = 'public' AND c.relname IN ('nodes', 'edges')),
    ARRAY(
        SELECT DISTINCT f.conrelid::regclass::text FROM pg_constraint f
        WHERE f.contype = 'f' AND f.confrelid = c.oid AND f.conrelid <> c.oid
    ),
    c.oid::regclass::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY n.nspname, c.relname

-- name: let_actions_go
-- The record of actions is append only, but for this transaction and this tenant.
SELECT set_config('app.removed_tenant_id', %(tenant_id)s, true)
