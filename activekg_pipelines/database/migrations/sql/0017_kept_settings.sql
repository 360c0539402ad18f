-- A process of the version before knows four settings of a connector of S3. When it changes
-- one of them, the others stay as they are.
CREATE OR REPLACE FUNCTION connectors.keep_columns_of_s3() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    by_old_version boolean := NEW.config IS NULL;
    moved boolean;
    kept jsonb := '{}';
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
            moved := (NEW.bucket, NEW.prefix, NEW.endpoint_url)
                IS DISTINCT FROM (OLD.bucket, OLD.prefix, OLD.endpoint_url);
            NEW.lists_in_order := OLD.lists_in_order OR moved;
            NEW.trusts_etags := OLD.trusts_etags OR moved;
            NEW.store_notes := '{}';
            kept := OLD.config;
        END IF;
        NEW.config := kept || jsonb_build_object('bucket', NEW.bucket, 'prefix', NEW.prefix,
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
