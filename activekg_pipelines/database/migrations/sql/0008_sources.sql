-- Connectors of any provider: their own fields in one column, and where they lie in another.
-- This is the expanding half of the change. The columns of S3 stay for processes of the
-- version before, which may still run during an upgrade; a trigger keeps both in step. The
-- next release drops the columns and the trigger.

ALTER TABLE connectors.connectors
    DROP CONSTRAINT connectors_provider_check,
    -- The provider's fields that are no secrets.
    ADD COLUMN config jsonb,
    -- <scheme>://<container>/<prefix>
    ADD COLUMN location text,
    -- What the API shows of the secrets, by field.
    ADD COLUMN secret_hints jsonb NOT NULL DEFAULT '{}',
    -- False once a listing came in another order than that of the keys: runs sort it.
    ADD COLUMN lists_in_order boolean NOT NULL DEFAULT true;

CREATE FUNCTION connectors.keep_columns_of_s3() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    by_old_version boolean := NEW.config IS NULL;
BEGIN
    IF TG_OP = 'UPDATE' AND NOT by_old_version THEN
        -- A process of the version before changes its own columns and none of the others.
        by_old_version :=
            (NEW.bucket, NEW.prefix, NEW.region, NEW.endpoint_url, NEW.access_key_hint)
            IS DISTINCT FROM
            (OLD.bucket, OLD.prefix, OLD.region, OLD.endpoint_url, OLD.access_key_hint)
            AND (NEW.config, NEW.location, NEW.secret_hints)
            IS NOT DISTINCT FROM (OLD.config, OLD.location, OLD.secret_hints);
    END IF;
    IF by_old_version AND NEW.provider <> 's3' THEN
        -- It would put keys of S3 in the place of the connector's secrets.
        RAISE EXCEPTION 'The connector % is of the provider %, which only the newer version of '
            'this system can change: finish the upgrade of this process.',
            NEW.partition_key, NEW.provider;
    ELSIF by_old_version THEN
        IF TG_OP = 'UPDATE' THEN
            -- Another source may list otherwise.
            NEW.lists_in_order := OLD.lists_in_order OR (NEW.bucket, NEW.prefix, NEW.endpoint_url)
                IS DISTINCT FROM (OLD.bucket, OLD.prefix, OLD.endpoint_url);
        END IF;
        NEW.config := jsonb_build_object('bucket', NEW.bucket, 'prefix', NEW.prefix,
            'region', NEW.region, 'endpoint_url', NEW.endpoint_url);
        NEW.location := 's3://' || NEW.bucket || '/' || NEW.prefix;
        NEW.secret_hints := jsonb_build_object('access_key_id', NEW.access_key_hint);
    ELSIF NEW.provider = 's3' THEN
        NEW.bucket := NEW.config ->> 'bucket';
        NEW.prefix := coalesce(NEW.config ->> 'prefix', '');
        NEW.region := coalesce(NEW.config ->> 'region', '');
        NEW.endpoint_url := NEW.config ->> 'endpoint_url';
        NEW.access_key_hint := coalesce(NEW.secret_hints ->> 'access_key_id', '');
    ELSE
        -- The version before shows where it lies, and reads nothing: its secrets are bound
        -- otherwise. No bucket of S3 has such a name, so none is taken for the same source.
        NEW.bucket := NEW.location;
        NEW.prefix := '';
        NEW.region := '';
        NEW.endpoint_url := NULL;
        NEW.access_key_hint := '';
    END IF;
    RETURN NEW;
END
$body$;

CREATE TRIGGER keep_columns_of_s3 BEFORE INSERT OR UPDATE ON connectors.connectors
    FOR EACH ROW EXECUTE FUNCTION connectors.keep_columns_of_s3();

-- The trigger fills the new columns.
UPDATE connectors.connectors SET config = NULL;

ALTER TABLE connectors.connectors
    ALTER COLUMN config SET NOT NULL,
    ALTER COLUMN location SET NOT NULL;
