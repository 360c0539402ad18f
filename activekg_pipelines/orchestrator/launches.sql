-- Dagster's own table, as of its schema of 1.13: no API reads the events of several runs.

-- name: last_words
-- Of each run the last events that say why it is not started, newest first.
SELECT run_id, event FROM (
    SELECT run_id, event, id, row_number() OVER (PARTITION BY run_id ORDER BY id DESC) AS nth
    FROM event_logs
    WHERE run_id = ANY(%(runs)s) AND dagster_event_type IN ('ENGINE_EVENT', 'PIPELINE_FAILURE')
) events
WHERE nth <= 3
ORDER BY run_id, id DESC
