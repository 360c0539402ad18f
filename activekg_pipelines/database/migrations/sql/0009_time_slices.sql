-- Whether a run must yield: it has used its time slice, as many runs as may be are under
-- way, and a tenant that has fewer of them than the run's own has waited as long for one.
-- For each such tenant one run makes way: of the tenants with most runs, and of those the
-- one that has worked longest. While a run starts it is not under way, and nobody makes
-- way for another one.
--
-- The same as `turn_is_over`, in the words of the settings. That one stays for processes
-- of the version before, which run during an upgrade.
CREATE FUNCTION connectors.must_yield(
    run_id uuid, slice_seconds double precision, concurrent_runs bigint
) RETURNS boolean LANGUAGE sql STABLE AS $fn$
    WITH running AS (
        SELECT id, tenant_id, started_at, count(*) OVER (PARTITION BY tenant_id) AS of_tenant
        FROM connectors.runs WHERE status = 'running'
    ), waiting AS (
        SELECT DISTINCT w.tenant_id,
            (SELECT count(*) FROM running r WHERE r.tenant_id = w.tenant_id) AS of_tenant
        FROM connectors.runs w
        JOIN connectors.connectors k ON k.id = w.connector_id AND k.enabled
        WHERE w.status = 'waiting' AND w.emitted_at IS NOT NULL
          AND w.requested_at < now() - make_interval(secs => slice_seconds)
    )
    SELECT (SELECT count(*) FROM running) >= concurrent_runs AND EXISTS (
        SELECT FROM running mine
        WHERE mine.id = run_id AND mine.started_at < now() - make_interval(secs => slice_seconds)
          AND (
              SELECT count(*) FROM running r
              WHERE r.of_tenant > mine.of_tenant
                 OR r.of_tenant = mine.of_tenant AND r.started_at <= mine.started_at
          ) <= (SELECT count(*) FROM waiting w WHERE w.of_tenant < mine.of_tenant)
    )
$fn$;
