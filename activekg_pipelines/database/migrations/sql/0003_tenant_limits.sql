-- Limits of tenants, what they used of them, whose turn it is, and pauses of polls that fail.

-- What an operator set for one tenant. NULL: the installation's default; 0: no limit.
CREATE TABLE connectors.tenant_limits (
    tenant_id text PRIMARY KEY,
    connectors bigint CHECK (connectors >= 0),
    objects bigint CHECK (objects >= 0),
    bytes_per_day bigint CHECK (bytes_per_day >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Bytes downloaded, by day in UTC of this server's clock; written in the transaction that stores what they held.
-- By day first: what is used up today is read every few seconds, and the days before are history.
CREATE TABLE connectors.tenant_usage (
    day date NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (day, tenant_id)
) WITH (fillfactor = 50);

ALTER TABLE connectors.scans
    -- New objects that the scan may still take in; NULL until it meets the first one, or for no limit.
    ADD COLUMN room bigint,
    ADD COLUMN over_limit bigint NOT NULL DEFAULT 0;

ALTER TABLE connectors.connectors
    -- New objects that the last completed scan did not take in.
    ADD COLUMN objects_over_limit bigint NOT NULL DEFAULT 0,
    -- Polls in a row that found no answer, and until when the bucket is left in peace.
    ADD COLUMN failed_polls int NOT NULL DEFAULT 0,
    ADD COLUMN polls_paused_until timestamptz;

-- Bytes that a tenant may still download today; below zero where the last download went beyond, NULL for no limit.
CREATE FUNCTION connectors.bytes_left(whose text, preset bigint) RETURNS bigint LANGUAGE sql STABLE AS $fn$
    SELECT nullif(coalesce((SELECT bytes_per_day FROM connectors.tenant_limits WHERE tenant_id = whose), preset), 0)
        - coalesce((
            SELECT bytes FROM connectors.tenant_usage
            WHERE day = (now() AT TIME ZONE 'UTC')::date AND tenant_id = whose
        ), 0)
$fn$;

-- Whether a run has had its turn: it has worked for so many seconds, all places are taken, and a tenant that holds fewer
-- of them than its own has waited as long for one. For each such tenant one run makes way: of the tenants with most
-- places, and of those the one that has worked longest. While a run starts, a place is not taken and nobody makes way.
CREATE FUNCTION connectors.turn_is_over(run_id uuid, seconds double precision, all_places bigint)
RETURNS boolean LANGUAGE sql STABLE AS $fn$
    WITH running AS (
        SELECT id, tenant_id, started_at, count(*) OVER (PARTITION BY tenant_id) AS places
        FROM connectors.runs WHERE status = 'running'
    ), waiting AS (
        SELECT DISTINCT w.tenant_id, (SELECT count(*) FROM running r WHERE r.tenant_id = w.tenant_id) AS places
        FROM connectors.runs w JOIN connectors.connectors k ON k.id = w.connector_id AND k.enabled
        WHERE w.status = 'waiting' AND w.emitted_at IS NOT NULL
          AND w.requested_at < now() - make_interval(secs => seconds)
    )
    SELECT (SELECT count(*) FROM running) >= all_places AND EXISTS (
        SELECT FROM running mine
        WHERE mine.id = run_id AND mine.started_at < now() - make_interval(secs => seconds)
          AND (
              SELECT count(*) FROM running r
              WHERE r.places > mine.places OR r.places = mine.places AND r.started_at <= mine.started_at
          ) <= (SELECT count(*) FROM waiting w WHERE w.places < mine.places)
    )
$fn$;

DO $security$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['tenant_limits', 'tenant_usage'] LOOP
        EXECUTE format('ALTER TABLE connectors.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tenant_table);
        -- A tenant may see its limits and not set them.
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON connectors.%I FOR SELECT USING (tenant_id = current_setting(''app.current_tenant_id'', true))',
            tenant_table);
        EXECUTE format('CREATE POLICY service ON connectors.%I TO CURRENT_USER USING (true)', tenant_table);
    END LOOP;
END
$security$;
