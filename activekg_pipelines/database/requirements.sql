-- name: version_table
-- By the catalogue, which says that it is there even to a role that may not look into it.
SELECT c.relowner::regrole::text AS owner,
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS is_readable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'connectors' AND c.relname = 'alembic_version'

-- name: revision
SELECT version_num FROM connectors.alembic_version

-- name: names
SELECT quote_ident(current_database()) AS database, quote_ident(current_user) AS role, coalesce(
    (
        SELECT quote_ident(n.nspname)
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector'
    ), 'public'
) AS extension_schema

-- name: facts
SELECT quote_ident(current_database()) AS database, d.datdba::regrole::text AS owner, quote_ident(current_user) AS role,
    current_setting('server_version_num')::int AS version,
    pg_encoding_to_char(d.encoding) AS encoding, d.encoding = pg_char_to_encoding('UTF8') AS is_utf8,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only')
        AS read_only_source,
    r.rolsuper AS is_superuser, r.rolsuper OR r.rolcreaterole AS may_create_roles,
    has_database_privilege(d.oid, 'CREATE') AS may_create_schemas,
    has_database_privilege(d.oid, 'TEMPORARY') AS may_create_temporary,
    p.oid IS NOT NULL AS has_public,
    -- From version 15 on it belongs to whoever owns the database.
    CASE WHEN p.nspowner::regrole::text = 'pg_database_owner' THEN d.datdba ELSE p.nspowner END
        ::regrole::text AS public_owner,
    coalesce(
        has_schema_privilege(p.oid, 'USAGE') AND has_schema_privilege(p.oid, 'CREATE'), false
    ) AS may_create_in_public,
    EXISTS (SELECT FROM pg_namespace WHERE nspname = 'connectors') AS has_connectors,
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'activekg_reader') AS has_reader
FROM pg_database d
JOIN pg_roles r ON r.rolname = current_user
LEFT JOIN pg_namespace p ON p.nspname = 'public'
WHERE d.datname = current_database()

-- name: pgvector
SELECT (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS available,
    e.extversion AS installed, e.extowner::regrole::text AS owner, quote_ident(n.nspname) AS schema,
    n.nspowner::regrole::text AS schema_owner,
    has_schema_privilege(n.oid, 'USAGE') AS usable
FROM (SELECT 'vector' AS name) wanted
LEFT JOIN pg_extension e ON e.extname = wanted.name
LEFT JOIN pg_namespace n ON n.oid = e.extnamespace

-- name: rights
-- Tables that the role may not write, and whether row-level security shows it their rows.
WITH tables AS (
    SELECT c.oid, format('%s.%s', n.nspname, c.relname) AS name, c.relowner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND (
        n.nspname = 'connectors' AND c.relname <> 'alembic_version'
        OR n.nspname = 'public' AND c.relname IN ('nodes', 'edges')
    )
)
SELECT coalesce(array_agg(name ORDER BY name) FILTER (WHERE NOT (
        has_schema_privilege(split_part(name, '.', 1), 'USAGE')
        AND has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
    )), '{}') AS refused,
    (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) OR EXISTS (
        SELECT FROM pg_policy p, unnest(p.polroles) role
        WHERE p.polrelid = (SELECT oid FROM tables WHERE name = 'connectors.connectors')
          AND p.polname = 'service'
          AND pg_has_role(role, 'USAGE')
    ) AS sees_rows,
    (SELECT relowner::regrole::text FROM tables WHERE name = 'connectors.connectors') AS owner
FROM tables

-- name: tables
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
    c.relowner::regrole::text AS owner, pg_has_role(c.relowner, 'USAGE') AS is_owned,
    (
        SELECT jsonb_object_agg(a.attname, regexp_replace(
            format_type(a.atttypid, NULL), '^.*\.', ''
        ))
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
    n.nspname = 'connectors' OR n.nspname = 'public' AND c.relname IN ('nodes', 'edges')
)
ORDER BY n.nspname, c.relname
