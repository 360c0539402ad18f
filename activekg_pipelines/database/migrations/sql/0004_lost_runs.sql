-- When a run was closed for its silence, until Dagster has been told: it may believe the run alive for hours, and keep the
-- run's place in the queue.
ALTER TABLE connectors.runs ADD COLUMN lost_at timestamptz;
CREATE INDEX runs_lost ON connectors.runs (lost_at) WHERE lost_at IS NOT NULL;
