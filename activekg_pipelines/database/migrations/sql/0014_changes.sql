ALTER TABLE connectors.objects
    -- The change token that the bytes arrived with; NULL where it is the listed one, `etag`.
    ADD COLUMN arrived_etag text,
    -- Whether `etag` is the MD5 of the bytes that arrived; NULL where nobody looked.
    ADD COLUMN etag_is_digest boolean,
    -- How often an archived object was found to be archived still.
    ADD COLUMN archive_checks int NOT NULL DEFAULT 0;

-- False once the same ETag was seen over other bytes: sizes and times are compared, too.
ALTER TABLE connectors.connectors ADD COLUMN trusts_etags boolean NOT NULL DEFAULT true;

-- An archived object has the state 'dead' and the error 'archived': to processes of the
-- version before it is a dead letter. These have to be asked about, because no listing
-- tells when they can be read again.
CREATE INDEX objects_archived ON connectors.objects (connector_id, next_attempt_at)
    WHERE state = 'dead' AND error_code = 'archived' AND next_attempt_at IS NOT NULL;
