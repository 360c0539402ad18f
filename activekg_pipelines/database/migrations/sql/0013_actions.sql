-- What people did to connectors and tenants, written in the transaction that did it. No
-- foreign key: a record outlives what it tells about.
CREATE TABLE connectors.actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Null where the action is about no tenant that is still there.
    tenant_id text COLLATE "C",
    at timestamptz NOT NULL DEFAULT now(),
    -- The subject of a token, or a user of the operating system.
    actor text NOT NULL,
    via text NOT NULL CHECK (via IN ('api', 'command_line')),
    -- A super admin, or somebody at the command line: not the tenant itself.
    by_operator boolean NOT NULL,
    action text NOT NULL,
    connector_id uuid,
    -- The connector's name at that time.
    partition_key text,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX actions_of_tenant ON connectors.actions (tenant_id, id);
CREATE INDEX actions_of_connector ON connectors.actions (connector_id, id)
    WHERE connector_id IS NOT NULL;

-- Append only, also for the role that owns the table. Rows go with their tenant alone,
-- and whoever removes it says so first.
CREATE FUNCTION connectors.keep_actions() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.tenant_id = current_setting('app.removed_tenant_id', true) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'The record of actions is only added to: % is refused.', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$fn$;
CREATE TRIGGER keep_actions BEFORE UPDATE OR DELETE ON connectors.actions
    FOR EACH ROW EXECUTE FUNCTION connectors.keep_actions();
CREATE TRIGGER keep_all_actions BEFORE TRUNCATE ON connectors.actions
    FOR EACH STATEMENT EXECUTE FUNCTION connectors.keep_actions();

ALTER TABLE connectors.actions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON connectors.actions
    FOR SELECT USING (tenant_id = current_setting('app.current_tenant_id', true));
CREATE POLICY service ON connectors.actions TO CURRENT_USER USING (true);
