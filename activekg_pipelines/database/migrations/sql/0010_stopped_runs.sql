-- Who asked that a run end early, why Dagster could not start it, and what it waits for
-- until it starts. `status` keeps its words: processes of the version before read it
-- during an upgrade, and to them a cancelled run is a failed one.
ALTER TABLE connectors.runs
    ADD COLUMN cancelled_by text,
    ADD COLUMN launch_error text,
    ADD COLUMN waits_for text;

-- After a cancellation nothing starts by itself until the next poll, or a sync that
-- somebody asks for.
ALTER TABLE connectors.connectors ADD COLUMN runs_held boolean NOT NULL DEFAULT false;
