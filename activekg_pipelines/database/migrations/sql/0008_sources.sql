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
BEGIN
    IF NEW.config IS NULL
       OR TG_OP = 'UPDATE' AND NEW.provider = 's3' AND NEW.config = OLD.config
          AND (NEW.bucket, NEW.prefix, NEW.region, NEW.endpoint_url, NEW.access_key_hint)
              IS DISTINCT FROM
              (OLD.bucket, OLD.prefix, OLD.region, OLD.endpoint_url, OLD.access_key_hint)
          AND NEW.secret_hints = OLD.secret_hints THEN
        -- Written by a process of the version before.
        NEW.config := jsonb_build_object('bucket', NEW.bucket, 'prefix', NEW.prefix,
            'region', NEW.region, 'endpoint_url', NEW.endpoint_url);
        NEW.location := 's3://' || NEW.bucket || '/' || NEW.prefix;
        NEW.secret_hints := jsonb_build_object('access_key_id', NEW.access_key_hint);
    ELSE
        -- Of another provider, that version shows where it lies and reads nothing.
        NEW.bucket := coalesce(NEW.config ->> 'bucket', NEW.location);
        NEW.prefix := coalesce(NEW.config ->> 'prefix', '');
        NEW.region := coalesce(NEW.config ->> 'region', '');
        NEW.endpoint_url := NEW.config ->> 'endpoint_url';
        NEW.access_key_hint := coalesce(NEW.secret_hints ->> 'access_key_id', '');
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
