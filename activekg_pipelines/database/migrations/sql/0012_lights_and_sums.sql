ALTER TABLE connectors.connectors
    -- A scan that would delete a larger share deletes nothing; NULL: as the settings say.
    ADD COLUMN delete_guard_percent smallint CHECK (delete_guard_percent BETWEEN 1 AND 100),
    -- What Dagster was last told of the check `listed_in_time`; NULL: nothing yet.
    ADD COLUMN listed_in_time boolean;

ALTER TABLE connectors.objects
    -- The sync that found this version; NULL where somebody queued the object again.
    ADD COLUMN found_by uuid,
    -- The sync that counts the object as failed.
    ADD COLUMN failed_by uuid;

-- Objects that a run settled and that it had not found itself.
ALTER TABLE connectors.runs ADD COLUMN again bigint NOT NULL DEFAULT 0;
