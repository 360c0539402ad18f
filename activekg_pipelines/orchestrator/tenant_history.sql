-- What Dagster's own tables hold of one tenant, as of its schema of 1.13. Its partitions
-- begin with the tenant's id and a slash, which no tenant id holds. By that alone runs and
-- events are told: a list of jobs and assets would forget a new one.

-- name: count
SELECT
    (SELECT count(*) FROM dynamic_partitions
     WHERE partitions_def_name = %(partitions_def)s AND starts_with(partition, %(prefix)s)),
    (SELECT count(*) FROM run_tags
     WHERE key = 'dagster/partition' AND starts_with(value, %(prefix)s)),
    (SELECT count(*) FROM event_logs e
     WHERE starts_with(e.partition, %(prefix)s)
       AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = e.run_id)),
    (SELECT count(*) FROM asset_check_executions WHERE starts_with(partition, %(prefix)s))

-- name: partitions
SELECT partition FROM dynamic_partitions
WHERE partitions_def_name = %(partitions_def)s AND starts_with(partition, %(prefix)s)

-- name: finished_runs
-- Those that are queued or at work would write on after their row is gone.
SELECT t.run_id FROM run_tags t JOIN runs r ON r.run_id = t.run_id
WHERE t.key = 'dagster/partition' AND starts_with(t.value, %(prefix)s)
  AND r.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
LIMIT %(limit)s

-- name: forget_events
-- Reported by sensor ticks, or left behind by a run that was deleted halfway.
WITH old AS (
    SELECT e.id FROM event_logs e
    WHERE starts_with(e.partition, %(prefix)s)
      AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = e.run_id)
    LIMIT %(limit)s
), tags AS (
    DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM old)
)
DELETE FROM event_logs WHERE id IN (SELECT id FROM old)

-- name: forget_check_evaluations
-- With the events of those that no run made: they name the partition in their text alone.
WITH old AS (
    SELECT id, evaluation_event_storage_id AS event_id FROM asset_check_executions
    WHERE starts_with(partition, %(prefix)s)
    LIMIT %(limit)s
), events AS (
    DELETE FROM event_logs e USING old
    WHERE e.id = old.event_id AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = e.run_id)
)
DELETE FROM asset_check_executions WHERE id IN (SELECT id FROM old)
