-- What /metrics reads: counters that never go backwards, since when an object waits, and an index for each gauge.

-- Written in the transaction that does the counted work; no foreign key, because a counter outlives what it counted.
-- Its rows are few and rewritten often: room in each page keeps the rewrites off the index (HOT).
CREATE TABLE connectors.counters (
    tenant_id text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    label text COLLATE "C" NOT NULL DEFAULT '',
    value double precision NOT NULL,
    PRIMARY KEY (tenant_id, provider, name, label)
) WITH (fillfactor = 50);

-- Credentials that were encrypted again under another key.
CREATE TABLE connectors.key_rotations (
    tenant_id text PRIMARY KEY,
    rotated bigint NOT NULL DEFAULT 0
);

-- Since when an object waits for work. Not the same as detected_at: a replay or a new model queues objects again that
-- were detected long ago, and their age says nothing about the queue.
ALTER TABLE connectors.objects ADD COLUMN queued_at timestamptz NOT NULL DEFAULT now();
UPDATE connectors.objects SET queued_at = detected_at WHERE state IN ('pending', 'extracted', 'failed');

-- A trigger, because objects are queued from many statements. Its condition is false for every step that a run makes.
CREATE FUNCTION connectors.stamp_queued() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    NEW.queued_at := now();
    RETURN NEW;
END
$fn$;
CREATE TRIGGER objects_queued BEFORE UPDATE OF state, detected_at ON connectors.objects
    FOR EACH ROW WHEN (
        NEW.detected_at IS DISTINCT FROM OLD.detected_at
        OR NEW.state IN ('pending', 'extracted') AND OLD.state NOT IN ('pending', 'extracted', 'failed')
    ) EXECUTE FUNCTION connectors.stamp_queued();

-- Depth and age of the queue. Objects that vanished from the bucket are in no queue: no run takes them up.
CREATE INDEX objects_queue ON connectors.objects (connector_id, state, queued_at)
    WHERE state IN ('pending', 'extracted', 'failed') AND missing_since_scan IS NULL;
CREATE INDEX objects_dead ON connectors.objects (connector_id, error_code) WHERE state = 'dead';

DO $security$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['counters', 'key_rotations'] LOOP
        EXECUTE format('ALTER TABLE connectors.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON connectors.%I USING (tenant_id = current_setting(''app.current_tenant_id'', true))',
            tenant_table);
        EXECUTE format('CREATE POLICY service ON connectors.%I TO CURRENT_USER USING (true)', tenant_table);
    END LOOP;
END
$security$;
