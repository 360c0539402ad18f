-- Dagster's own tables, as of its schema of 1.13. Runs are deleted through Dagster's API.
-- What is deleted here is what no API deletes: see "Retention" in
-- docs/operations/production.md.

-- name: cutoff
-- By the database's clock.
SELECT now() - make_interval(days => %(days)s)

-- name: newest_runs
-- Runs that tell what a partition's state is: the last one that materialized it, the last one that meant
-- to, and the last one that evaluated a check. Of partitions that are gone, none.
SELECT DISTINCT e.run_id FROM event_logs e JOIN (
    SELECT max(id) AS id FROM event_logs
    WHERE asset_key = ANY(%(assets)s)
      AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED')
      AND (partition IS NULL OR partition IN (
          SELECT partition FROM dynamic_partitions WHERE partitions_def_name = %(partitions_def)s
      ))
    GROUP BY asset_key, dagster_event_type, partition
) newest ON newest.id = e.id
UNION
SELECT run_id FROM asset_check_executions WHERE id IN (
    SELECT max(id) FROM asset_check_executions
    WHERE asset_key = ANY(%(assets)s)
      AND (partition IS NULL OR partition IN (
          SELECT partition FROM dynamic_partitions WHERE partitions_def_name = %(partitions_def)s
      ))
    GROUP BY asset_key, check_name, partition
)

-- name: forget_tick_events
-- Materializations that sensor ticks reported. They belong to no run. Each partition's last one stays.
WITH old AS (
    SELECT e.id FROM event_logs e
    WHERE e.run_id = '' AND e.asset_key = ANY(%(assets)s)
      AND e.dagster_event_type = 'ASSET_MATERIALIZATION'
      AND e.timestamp < (now() AT TIME ZONE 'UTC') - make_interval(days => %(days)s)
      AND (
          EXISTS (
              SELECT FROM event_logs later
              WHERE later.asset_key = e.asset_key
                AND later.dagster_event_type = e.dagster_event_type
                AND later.partition = e.partition AND later.id > e.id
          )
          OR NOT EXISTS (
              SELECT FROM dynamic_partitions p
              WHERE p.partitions_def_name = %(partitions_def)s AND p.partition = e.partition
          )
      )
    ORDER BY e.id LIMIT %(limit)s
), tags AS (
    DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM old)
)
DELETE FROM event_logs WHERE id IN (SELECT id FROM old)

-- name: forget_check_evaluations
-- Evaluations by runs that are gone, and those that no run made, with their events. The last
-- one of each check and partition stays, until the partition is gone.
WITH old AS (
    SELECT e.id, e.run_id, e.evaluation_event_storage_id FROM asset_check_executions e
    WHERE e.asset_key = ANY(%(assets)s)
      AND e.create_timestamp < (now() AT TIME ZONE 'UTC') - make_interval(days => %(days)s)
      AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = e.run_id)
      AND (
          EXISTS (
              SELECT FROM asset_check_executions later
              WHERE later.asset_key = e.asset_key AND later.check_name = e.check_name
                AND later.partition IS NOT DISTINCT FROM e.partition AND later.id > e.id
          )
          OR e.partition IS NOT NULL AND NOT EXISTS (
              SELECT FROM dynamic_partitions p
              WHERE p.partitions_def_name = %(partitions_def)s AND p.partition = e.partition
          )
      )
    LIMIT %(limit)s
), events AS (
    DELETE FROM event_logs
    WHERE run_id = '' AND id IN (SELECT evaluation_event_storage_id FROM old WHERE run_id = '')
)
DELETE FROM asset_check_executions WHERE id IN (SELECT id FROM old)

