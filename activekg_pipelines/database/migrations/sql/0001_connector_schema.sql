-- Graph tables as ActiveKG makes them (created when absent, used as found otherwise), then everything of ours.

CREATE EXTENSION IF NOT EXISTS vector;

DO $version$
DECLARE
    found text := (SELECT extversion FROM pg_extension WHERE extname = 'vector');
BEGIN
    -- Search under a tenant filter needs iterative index scans.
    IF string_to_array(split_part(found, '-', 1), '.')::int[] < ARRAY[0, 8] THEN
        RAISE EXCEPTION 'pgvector % is too old: version 0.8 or newer is needed (ALTER EXTENSION vector UPDATE)', found;
    END IF;
END
$version$;

-- The graph ------------------------------------------------------------------------------------------------------------

DO $graph$
DECLARE
    fresh boolean := to_regclass('public.nodes') IS NULL;
BEGIN
    CREATE TABLE IF NOT EXISTS public.nodes (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id text,
        classes text[] NOT NULL DEFAULT '{}',
        props jsonb NOT NULL DEFAULT '{}',
        payload_ref text,
        embedding vector(384),
        metadata jsonb NOT NULL DEFAULT '{}',
        refresh_policy jsonb NOT NULL DEFAULT '{}',
        triggers jsonb NOT NULL DEFAULT '[]',
        version int NOT NULL DEFAULT 1,
        last_refreshed timestamptz,
        drift_score double precision,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        embedding_status text NOT NULL DEFAULT 'queued',
        embedding_error text,
        embedding_attempts int NOT NULL DEFAULT 0,
        embedding_updated_at timestamptz
    );
    CREATE TABLE IF NOT EXISTS public.edges (
        src uuid NOT NULL,
        rel text NOT NULL,
        dst uuid NOT NULL,
        props jsonb NOT NULL DEFAULT '{}',
        tenant_id text,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (src, rel, dst)
    );
    -- An ActiveKG database from before its embedding queue gets these columns from here.
    IF NOT EXISTS (SELECT FROM information_schema.columns
                   WHERE table_schema = 'public' AND table_name = 'nodes' AND column_name = 'embedding_status') THEN
        ALTER TABLE public.nodes
            ADD COLUMN embedding_status text NOT NULL DEFAULT 'queued',
            ADD COLUMN embedding_error text,
            ADD COLUMN embedding_attempts int NOT NULL DEFAULT 0,
            ADD COLUMN embedding_updated_at timestamptz;
        UPDATE public.nodes SET embedding_status = 'ready' WHERE embedding IS NOT NULL;
    END IF;
    IF fresh THEN
        ALTER TABLE public.nodes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        ALTER TABLE public.edges ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant_isolation_nodes ON public.nodes
            USING (tenant_id = current_setting('app.current_tenant_id', true));
        CREATE POLICY tenant_isolation_edges ON public.edges
            USING (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$graph$;

CREATE INDEX IF NOT EXISTS idx_nodes_tenant ON public.nodes (tenant_id);
CREATE INDEX IF NOT EXISTS idx_edges_dst ON public.edges (dst, rel);
CREATE INDEX IF NOT EXISTS idx_edges_tenant ON public.edges (tenant_id);
CREATE UNIQUE INDEX IF NOT EXISTS idx_nodes_tenant_external_id_unique
    ON public.nodes (tenant_id, (props ->> 'external_id')) WHERE props ? 'external_id';

-- A vector computed once for a text serves every later chunk of the tenant with that text.
CREATE INDEX IF NOT EXISTS idx_nodes_text_hash
    ON public.nodes (tenant_id, (props ->> 'text_hash')) WHERE props ? 'text_hash';

CREATE INDEX IF NOT EXISTS idx_nodes_embedding_hnsw
    ON public.nodes USING hnsw (embedding vector_cosine_ops);

-- Full text. ActiveKG's own migration makes the same column and trigger; either may come first.
ALTER TABLE public.nodes ADD COLUMN IF NOT EXISTS text_search_vector tsvector;

DO $search$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'public.nodes'::regclass AND tgname = 'nodes_text_search_update'
    ) THEN
        CREATE OR REPLACE FUNCTION public.update_text_search_vector() RETURNS trigger LANGUAGE plpgsql AS $fn$
        BEGIN
            NEW.text_search_vector :=
                setweight(to_tsvector('english', COALESCE(NEW.props ->> 'title', '')), 'A') ||
                setweight(to_tsvector('english', COALESCE(NEW.props ->> 'text', '')), 'B') ||
                setweight(to_tsvector('english', COALESCE(NULLIF(NEW.metadata::text, '{}'), '')), 'C');
            RETURN NEW;
        END
        $fn$;
        CREATE TRIGGER nodes_text_search_update
            BEFORE INSERT OR UPDATE OF props, metadata ON public.nodes
            FOR EACH ROW EXECUTE FUNCTION public.update_text_search_vector();
    END IF;
END
$search$;

CREATE INDEX IF NOT EXISTS idx_nodes_text_search ON public.nodes USING gin (text_search_vector);

-- The registry ---------------------------------------------------------------------------------------------------------

CREATE TABLE connectors.connectors (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    provider text NOT NULL DEFAULT 's3' CHECK (provider = 's3'),
    name text NOT NULL,
    partition_key text NOT NULL UNIQUE,
    bucket text NOT NULL,
    prefix text NOT NULL DEFAULT '',
    region text NOT NULL,
    endpoint_url text,
    poll_interval_seconds int NOT NULL CHECK (poll_interval_seconds BETWEEN 60 AND 3600),
    enabled boolean NOT NULL DEFAULT true,
    -- Fernet token of {"access_key_id", "secret_access_key"}; the hint is what the API shows of the access key.
    secrets bytea NOT NULL,
    kek_version int NOT NULL,
    access_key_hint text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_scan_started_at timestamptz,
    last_scan_completed_at timestamptz,
    last_error_code text,
    last_error_message text,
    last_error_at timestamptz,
    -- Deletions held back by the delete-storm guard until somebody confirms them; 0 means none.
    deletions_held_back int NOT NULL DEFAULT 0,
    -- How many of them somebody confirmed; more than that are held back again.
    deletions_confirmed int NOT NULL DEFAULT 0,
    -- Raised when bucket, prefix or endpoint change: whoever still works on the source before gets nothing to do.
    generation int NOT NULL DEFAULT 0,
    -- Runs that failed in a row, and until when no further one starts by itself.
    failed_runs int NOT NULL DEFAULT 0,
    runs_paused_until timestamptz,
    -- Extractor, chunker and encoder that outdated rows were last looked for with.
    versions text,
    UNIQUE (tenant_id, name)
);

-- The ledger -----------------------------------------------------------------------------------------------------------

CREATE TYPE connectors.object_state AS ENUM
    ('pending', 'extracted', 'indexed', 'skipped', 'failed', 'dead', 'deleted');

CREATE TABLE connectors.objects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connector_id uuid NOT NULL REFERENCES connectors.connectors ON DELETE CASCADE,
    tenant_id text NOT NULL,
    -- Byte order, because that is the order S3 lists in and a scan compares range by range.
    key text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size bigint NOT NULL,
    modified_at timestamptz NOT NULL,
    state connectors.object_state NOT NULL DEFAULT 'pending',
    detected_at timestamptz NOT NULL DEFAULT now(),
    -- The scan that did not see the key any more; its end decides about the deletion.
    missing_since_scan bigint,
    attempts int NOT NULL DEFAULT 0,
    -- Runs that died while they held this object's lease.
    deaths int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    error_code text,
    error_message text,
    claimed_by text,
    claim_expires_at timestamptz,
    -- What the graph holds of this object, written in the transaction that writes the graph.
    document_id uuid,
    indexed_etag text,
    indexed_at timestamptz,
    indexed_text_hash bytea,
    chunks int NOT NULL DEFAULT 0,
    chunker_version text,
    encoder_version text,
    UNIQUE (connector_id, key)
);

CREATE INDEX objects_work ON connectors.objects (connector_id, state, id)
    WHERE state IN ('pending', 'extracted', 'failed');
CREATE INDEX objects_missing ON connectors.objects (connector_id, missing_since_scan)
    WHERE missing_since_scan IS NOT NULL;
CREATE INDEX objects_claims ON connectors.objects (claimed_by) WHERE claimed_by IS NOT NULL;

-- The text of each object as it was extracted last: what chunk offsets point into, and what a new model embeds.
CREATE TABLE connectors.texts (
    object_id bigint PRIMARY KEY REFERENCES connectors.objects ON DELETE CASCADE,
    tenant_id text NOT NULL,
    text text NOT NULL,
    title text,
    mime_type text NOT NULL,
    facts jsonb NOT NULL DEFAULT '{}',
    characters int NOT NULL,
    -- SHA-256 of the object's bytes and of the text.
    content_hash bytea NOT NULL,
    text_hash bytea NOT NULL,
    extractor_version text NOT NULL,
    extracted_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE connectors.scans (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connector_id uuid NOT NULL REFERENCES connectors.connectors ON DELETE CASCADE,
    tenant_id text NOT NULL,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'failed')),
    start_after text COLLATE "C" NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    pages int NOT NULL DEFAULT 0,
    listed bigint NOT NULL DEFAULT 0,
    added bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    missing bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX scans_running ON connectors.scans (connector_id) WHERE status = 'running';
CREATE INDEX scans_history ON connectors.scans (connector_id, id DESC);

-- Every sync: asked for, running, done. A row exists before Dagster's run does, so that a crash between the two loses
-- nothing, and it carries the counts, written in the transactions that do the work.
CREATE TABLE connectors.runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    connector_id uuid NOT NULL REFERENCES connectors.connectors ON DELETE CASCADE,
    tenant_id text NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('poll', 'manual', 'registered', 'retry', 'pending', 'scan', 'dagster')),
    with_scan boolean NOT NULL,
    mode text NOT NULL DEFAULT 'changed' CHECK (mode IN ('changed', 'failed', 'all')),
    -- A retried run must not reset the objects that its first try finished.
    mode_applied boolean NOT NULL DEFAULT false,
    requested_at timestamptz NOT NULL DEFAULT now(),
    emitted_at timestamptz,
    emissions int NOT NULL DEFAULT 0,
    dagster_run_id text UNIQUE,
    started_at timestamptz,
    heartbeat_at timestamptz,
    finished_at timestamptz,
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'running', 'succeeded', 'failed', 'expired')),
    listed bigint NOT NULL DEFAULT 0,
    added bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    extracted bigint NOT NULL DEFAULT 0,
    indexed bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    bytes_fetched bigint NOT NULL DEFAULT 0,
    chunks bigint NOT NULL DEFAULT 0,
    embeddings_computed bigint NOT NULL DEFAULT 0,
    embeddings_reused bigint NOT NULL DEFAULT 0,
    errors jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX runs_live ON connectors.runs (connector_id) WHERE status IN ('waiting', 'running');
CREATE INDEX runs_history ON connectors.runs (connector_id, requested_at DESC);
CREATE UNIQUE INDEX runs_one_waiting_manual ON connectors.runs (connector_id, mode)
    WHERE status = 'waiting' AND trigger = 'manual';

-- Vectors of chunks that were deleted or replaced, for a while: a renamed or re-uploaded document encodes nothing.
CREATE TABLE connectors.released_embeddings (
    tenant_id text NOT NULL,
    encoder_version text NOT NULL,
    text_hash text NOT NULL,
    embedding vector(384) NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, encoder_version, text_hash)
);
CREATE INDEX released_embeddings_expiry ON connectors.released_embeddings (expires_at);

-- Who sees what --------------------------------------------------------------------------------------------------------

DO $security$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['connectors', 'objects', 'texts', 'scans', 'runs', 'released_embeddings'] LOOP
        EXECUTE format('ALTER TABLE connectors.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON connectors.%I USING (tenant_id = current_setting(''app.current_tenant_id'', true))',
            tenant_table);
        -- The role that migrates is the role that syncs: it works for all tenants.
        EXECUTE format('CREATE POLICY service ON connectors.%I TO CURRENT_USER USING (true)', tenant_table);
    END LOOP;

    -- The read role for applications: GRANT activekg_reader TO your_app. It sees one tenant's graph at a time.
    -- Roles belong to the server, not the database: where another database's migration, or an administrator, has made
    -- it, the right to create roles is not needed.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'activekg_reader') THEN
        BEGIN
            CREATE ROLE activekg_reader NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Another migration made it at this moment.
            NULL;
        END;
    END IF;
    GRANT USAGE ON SCHEMA public, connectors TO activekg_reader;
    GRANT SELECT ON connectors.texts TO activekg_reader;
    -- An ActiveKG graph that is used as found may have no row-level security: there the role would see every tenant.
    FOREACH tenant_table IN ARRAY ARRAY['nodes', 'edges'] LOOP
        IF (SELECT relrowsecurity FROM pg_class WHERE oid = format('public.%I', tenant_table)::regclass) THEN
            EXECUTE format('GRANT SELECT ON public.%I TO activekg_reader', tenant_table);
        END IF;
    END LOOP;
END
$security$;
