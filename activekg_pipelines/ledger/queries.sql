-- Scans -------------------------------------------------------------------------------

-- name: open_scan
-- The connector's scan under way, or a new one. None for who would list the source that
-- the connector had before.
WITH current AS (
    SELECT id FROM connectors.connectors WHERE id = %(connector_id)s AND generation = %(generation)s
), running AS (
    SELECT s.id, s.start_after FROM connectors.scans s JOIN current ON current.id = s.connector_id
    WHERE s.status = 'running'
), opened AS (
    INSERT INTO connectors.scans (connector_id, tenant_id)
    SELECT id, %(tenant_id)s FROM current WHERE NOT EXISTS (SELECT FROM running)
    ON CONFLICT (connector_id) WHERE status = 'running' DO NOTHING
    RETURNING id, start_after
), stamped AS (
    UPDATE connectors.connectors SET last_scan_started_at = now()
    WHERE id = %(connector_id)s AND EXISTS (SELECT FROM opened)
)
SELECT id, start_after, EXISTS (SELECT FROM current)
FROM (SELECT * FROM running UNION ALL SELECT * FROM opened) scan
UNION ALL
SELECT NULL, NULL, false WHERE NOT EXISTS (SELECT FROM current)

-- name: advance_scan
-- Advances the cursor, if no other process has advanced it. Two scanners of one connector
-- share its scan page by page.
UPDATE connectors.scans SET
    start_after = %(upto)s, pages = pages + 1, listed = listed + %(listed)s, updated_at = now()
WHERE id = %(scan_id)s AND status = 'running' AND start_after = %(start_after)s
RETURNING id

-- name: compare_page
-- Compares one page of the listing with the ledger's rows of the same key range. Only
-- what differs is written. A changed row loses its claim: the run that holds it works
-- on a version that is gone, and its write must not count.
WITH listed AS (
    SELECT * FROM unnest(
        %(keys)s::text[], %(etags)s::text[], %(sizes)s::bigint[], %(modified)s::timestamptz[],
        %(skip_codes)s::text[], %(skip_messages)s::text[], %(archived)s::bool[]
    ) AS l (key, etag, size, modified_at, skip_code, skip_message, is_archived)
), known AS (
    SELECT o.id, o.key, o.etag, o.size, o.modified_at, o.arrived_etag, o.etag_is_digest,
        o.state, o.error_code, o.next_attempt_at,
        o.state <> 'deleted' AS is_alive, o.missing_since_scan IS NOT NULL AS is_missing
    FROM connectors.objects o
    WHERE o.connector_id = %(connector_id)s AND o.key > %(start_after)s
      AND (%(is_last)s OR o.key <= %(upto)s)
      AND o.key <> ALL(%(left_out)s::text[])
), compared AS (
    -- What differs. A full join can only be hashed or merged. Postgres has no
    -- statistics of an array, so it is likely to run any other join of the two as each
    -- with each.
    SELECT l.key, l.etag, l.size, l.modified_at, l.skip_code, l.skip_message, o.id,
        l.key IS NOT NULL AND o.is_alive IS NOT TRUE AS is_new,
        o.is_alive AND ({is_changed} OR {is_restored}) AS is_changed,
        l.key IS NOT NULL AND o.is_missing AS is_back,
        l.key IS NULL AS is_gone,
        {is_told} AS is_told,
        o.is_alive AND l.etag = o.etag AND l.size <> o.size AS is_contradicted
    FROM listed l FULL JOIN known o ON o.key = l.key COLLATE "C"
    WHERE (l.key IS NOT NULL OR o.is_alive AND NOT o.is_missing)
      AND ((o.is_alive AND NOT o.is_missing AND l.key IS NOT NULL) IS NOT TRUE
           OR {is_changed} OR {is_restored} OR {is_told})
), room AS (
    -- How many new objects the scan may still take in; NULL for no limit. Counted when
    -- the first new one is met, and remembered with the scan from then on: a first scan
    -- of a million objects must not count them page after page.
    SELECT coalesce(s.room, m.most - (
        SELECT count(*) FROM connectors.objects o
        WHERE o.connector_id = %(connector_id)s AND o.state <> 'deleted'
    )) AS objects
    FROM connectors.scans s CROSS JOIN (
        SELECT nullif(coalesce(
            (SELECT objects FROM connectors.tenant_limits WHERE tenant_id = %(tenant_id)s),
            %(max_objects)s::bigint
        ), 0) AS most
    ) m
    WHERE s.id = %(scan_id)s AND m.most IS NOT NULL
), over_limit AS (
    -- Known objects are compared whatever the limit. New ones beyond it are as if they
    -- had not been listed.
    SELECT n.key FROM (
        SELECT key, row_number() OVER (ORDER BY key COLLATE "C") AS nth FROM compared WHERE is_new
    ) n
    WHERE n.nth > (SELECT objects FROM room)
), taken AS (
    SELECT * FROM compared c
    WHERE is_changed OR is_new AND NOT EXISTS (SELECT FROM over_limit x WHERE x.key = c.key)
), remembered AS (
    UPDATE connectors.scans SET
        room = (SELECT objects FROM room) - (SELECT count(*) FROM taken WHERE is_new),
        over_limit = over_limit + (SELECT count(*) FROM over_limit)
    -- In this order: an idle scan must not count.
    WHERE id = %(scan_id)s
      AND CASE WHEN EXISTS (SELECT FROM compared WHERE is_new) THEN EXISTS (SELECT FROM room) END
), written AS (
    INSERT INTO connectors.objects AS o
        (connector_id, tenant_id, key, etag, size, modified_at, state, error_code, error_message,
         found_by)
    SELECT %(connector_id)s, %(tenant_id)s, key, etag, size, modified_at,
        CASE WHEN skip_code IS NULL THEN 'pending' WHEN skip_code = 'archived' THEN 'dead'
            ELSE 'skipped' END::connectors.object_state,
        skip_code, skip_message,
        coalesce((SELECT id FROM connectors.runs WHERE dagster_run_id = %(run)s), %(found_by)s)
    FROM taken
    -- In key order, as in every statement that locks several objects. Two that lock
    -- them in different orders could wait for each other.
    ORDER BY key COLLATE "C"
    ON CONFLICT (connector_id, key) DO UPDATE SET
        etag = EXCLUDED.etag, size = EXCLUDED.size, modified_at = EXCLUDED.modified_at,
        arrived_etag = CASE WHEN o.etag = EXCLUDED.etag THEN o.arrived_etag END,
        etag_is_digest = CASE WHEN o.etag = EXCLUDED.etag THEN o.etag_is_digest END,
        state = EXCLUDED.state,
        error_code = EXCLUDED.error_code, error_message = EXCLUDED.error_message,
        detected_at = now(), missing_since_scan = NULL,
        attempts = 0, deaths = 0, next_attempt_at = NULL,
        claimed_by = NULL, claim_expires_at = NULL,
        found_by = EXCLUDED.found_by, failed_by = NULL
    RETURNING o.id, o.document_id, o.state
), locked AS (
    -- In key order, as above.
    SELECT id, missing_since_scan IS NULL AS is_gone FROM connectors.objects
    WHERE id = ANY (ARRAY(
        SELECT id FROM compared WHERE is_gone OR is_back AND NOT is_new AND NOT is_changed
    ))
    ORDER BY key FOR NO KEY UPDATE
), marked AS (
    UPDATE connectors.objects o SET
        missing_since_scan = CASE WHEN l.is_gone THEN %(scan_id)s::bigint END
    FROM locked l WHERE o.id = l.id AND o.state <> 'deleted'
    RETURNING l.is_gone
), told AS (
    -- The source need not be asked about them any more.
    UPDATE connectors.objects SET next_attempt_at = NULL
    WHERE id = ANY (ARRAY(
        SELECT id FROM connectors.objects WHERE id = ANY (ARRAY(
            SELECT id FROM compared WHERE is_told AND NOT is_changed AND NOT is_back
        ))
        ORDER BY key FOR NO KEY UPDATE
    ))
)
SELECT
    (SELECT count(*) FROM taken WHERE is_new),
    (SELECT count(*) FROM taken WHERE is_changed),
    (SELECT count(*) FROM marked WHERE is_gone),
    (SELECT count(*) FROM taken WHERE skip_code IS NULL),
    (SELECT array_agg(key) FROM taken),
    (SELECT array_agg(key) FROM over_limit),
    (SELECT array_agg(id) FROM written w WHERE state = 'skipped'
     AND (document_id IS NOT NULL
          OR EXISTS (SELECT FROM connectors.texts t WHERE t.object_id = w.id))),
    (SELECT coalesce(bool_or(is_contradicted), false) FROM compared)

-- part: is_told
-- Whether the source was asked about an archived object, and its listing tells by now.
({is_archived} AND l.is_archived IS TRUE AND o.next_attempt_at IS NOT NULL)

-- name: archived_objects
-- Archived objects of which no listing says when they can be read again: those to be asked
-- about now, longest due first, or all of them.
SELECT o.id, o.key FROM connectors.objects o
WHERE o.connector_id = %(connector_id)s AND o.state = 'dead' AND o.error_code = 'archived'
  AND o.next_attempt_at IS NOT NULL AND (%(early)s OR o.next_attempt_at <= now())
  AND o.missing_since_scan IS NULL
ORDER BY o.next_attempt_at LIMIT %(limit)s

-- name: settle_archived
-- Takes up archived objects that can be read again. The others are asked about later, each
-- time after a longer pause. Returns how many were taken up.
WITH answers AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(readable)s::bool[]) AS a (id, is_readable)
), locked AS (
    SELECT o.id, a.is_readable FROM connectors.objects o JOIN answers a ON a.id = o.id
    WHERE {is_archived} ORDER BY o.key FOR NO KEY UPDATE OF o
), settled AS (
    UPDATE connectors.objects o SET
        state = CASE WHEN l.is_readable THEN 'pending' ELSE 'dead' END::connectors.object_state,
        error_code = CASE WHEN NOT l.is_readable THEN o.error_code END,
        error_message = CASE WHEN NOT l.is_readable THEN o.error_message END,
        detected_at = CASE WHEN l.is_readable THEN now() ELSE o.detected_at END,
        found_by = CASE WHEN l.is_readable THEN coalesce(
            (SELECT id FROM connectors.runs WHERE dagster_run_id = %(run)s), %(found_by)s
        ) ELSE o.found_by END,
        attempts = CASE WHEN l.is_readable THEN 0 ELSE o.attempts END,
        archive_checks = o.archive_checks + 1,
        next_attempt_at = CASE WHEN NOT l.is_readable THEN {next_archive_check} END
    FROM locked l WHERE o.id = l.id
    RETURNING l.is_readable
)
SELECT count(*) FILTER (WHERE is_readable) FROM settled

-- part: next_archive_check
-- Each entry is the pause before the next question after so many. The last one holds for more.
now() + make_interval(secs => (%(archive_pauses)s::float8[])[
    least(o.archive_checks + 1, cardinality(%(archive_pauses)s::float8[]))
])

-- name: count_scan
UPDATE connectors.scans SET
    added = added + %(added)s, changed = changed + %(changed)s, missing = missing + %(missing)s
WHERE id = %(scan_id)s

-- name: weigh_deletions
-- What a completed listing would delete, and out of how many. The whole is counted only
-- when it matters: an idle scan of a million objects must not read a million rows.
SELECT m.missing,
    CASE WHEN m.missing > %(min_objects)s THEN (
        SELECT count(*) FROM connectors.objects o
        WHERE o.connector_id = %(connector_id)s AND o.state <> 'deleted'
    ) ELSE m.missing END,
    (SELECT deletions_confirmed FROM connectors.connectors WHERE id = %(connector_id)s)
FROM (
    SELECT count(*) AS missing FROM connectors.objects o
    WHERE o.connector_id = %(connector_id)s AND o.missing_since_scan IS NOT NULL
) m

-- name: missing_objects
SELECT key, etag FROM connectors.objects
WHERE connector_id = %(connector_id)s AND missing_since_scan <= %(scan_id)s AND state <> 'deleted'
ORDER BY key LIMIT %(limit)s

-- name: delete_missing
-- Marks the next batch of objects deleted that the completed listing did not see. The
-- caller removes their documents.
WITH gone AS (
    SELECT id, document_id FROM connectors.objects
    WHERE connector_id = %(connector_id)s AND missing_since_scan <= %(scan_id)s
      AND state <> 'deleted'
    ORDER BY key LIMIT %(limit)s FOR UPDATE
), texts AS (
    DELETE FROM connectors.texts t USING gone WHERE t.object_id = gone.id
)
UPDATE connectors.objects o SET
    state = 'deleted', detected_at = now(), missing_since_scan = NULL,
    claimed_by = NULL, claim_expires_at = NULL,
    document_id = NULL,
    indexed_etag = NULL, indexed_at = NULL, indexed_text_hash = NULL, chunks = 0,
    warnings = '{}', error_code = NULL, error_message = NULL
FROM gone WHERE o.id = gone.id
RETURNING gone.document_id

-- name: count_deleted
UPDATE connectors.scans SET deleted = deleted + %(deleted)s, updated_at = now()
WHERE id = %(scan_id)s

-- name: complete_scan
WITH done AS (
    UPDATE connectors.scans SET status = 'completed', finished_at = now(), updated_at = now()
    WHERE id = %(scan_id)s AND status = 'running'
    RETURNING connector_id, listed, added, changed, missing, deleted, over_limit
), stamped AS (
    UPDATE connectors.connectors c SET
        last_scan_completed_at = now(),
        -- The source can be read: what kept it from that is over, and so is the pause
        -- that it caused. What kept a run from beginning or ended it is another matter,
        -- such as a model that cannot be used. A run that begins or succeeds settles that.
        last_error_code = CASE
            WHEN last_error_code IN ('model', 'parser_unavailable', 'launch_failed', 'run_failed')
            THEN last_error_code
        END,
        last_error_message = CASE
            WHEN last_error_code IN ('model', 'parser_unavailable', 'launch_failed', 'run_failed')
            THEN last_error_message
        END,
        last_error_at = CASE
            WHEN last_error_code IN ('model', 'parser_unavailable', 'launch_failed', 'run_failed')
            THEN last_error_at
        END,
        runs_paused_until = CASE
            WHEN last_error_code IS NULL
              OR last_error_code IN ('model', 'parser_unavailable', 'launch_failed', 'run_failed')
            THEN runs_paused_until
        END,
        deletions_held_back = %(held_back)s, deletions_confirmed = 0,
        objects_over_limit = done.over_limit
    FROM done WHERE c.id = done.connector_id
)
SELECT listed, added, changed, missing, deleted, over_limit FROM done

-- name: fail_scan
UPDATE connectors.scans SET status = 'failed', finished_at = now(), updated_at = now()
WHERE id = %(scan_id)s AND status = 'running'

-- name: requeue_outdated
-- Makes rows due whose text or vectors an older extractor, chunker or model made, and
-- rows that an older extractor refused; only those. It looks for them when the versions
-- differ from those that the connector was last looked through for, or when the caller
-- wants to be thorough. Returns how many.
WITH looked AS (
    SELECT id, split_part(versions, ' ', 1) <> %(extractor)s AS new_extractor
    FROM connectors.connectors
    WHERE id = %(connector_id)s AND (
        %(thorough)s OR versions IS DISTINCT FROM %(versions)s
    )
    FOR NO KEY UPDATE
), noted AS (
    UPDATE connectors.connectors c SET versions = %(versions)s
    FROM looked l
    WHERE c.id = l.id
      AND versions IS DISTINCT FROM %(versions)s
), outdated AS (
    SELECT o.id, t.extractor_version IS DISTINCT FROM %(extractor)s AS extract
    FROM looked JOIN connectors.objects o ON o.connector_id = looked.id
    JOIN connectors.texts t ON t.object_id = o.id
    WHERE o.state IN ('indexed', 'extracted')
      AND (t.extractor_version IS DISTINCT FROM %(extractor)s
           OR o.state = 'indexed'
              AND (o.chunker_version, o.encoder_version)
                  IS DISTINCT FROM (%(chunker)s, %(encoder)s))
), requeued AS (
    UPDATE connectors.objects o SET
        state = CASE WHEN x.extract THEN 'pending' ELSE 'extracted' END::connectors.object_state,
        attempts = 0, next_attempt_at = NULL,
        -- Also taken from a run that holds them: it may be of the old version, or dead.
        claimed_by = NULL, claim_expires_at = NULL
    FROM outdated x WHERE o.id = x.id RETURNING o.id
), reconsidered AS (
    -- What the name or the size alone settles stays settled: a million pictures must not
    -- be downloaded to be refused again.
    UPDATE connectors.objects o SET
        state = 'pending', attempts = 0, deaths = 0, next_attempt_at = NULL,
        error_code = NULL, error_message = NULL
    FROM looked l
    WHERE l.new_extractor AND o.connector_id = l.id AND o.state IN ('dead', 'skipped')
      AND o.error_code = ANY(%(extractor_codes)s::text[])
      AND o.size > 0 AND lower(o.key) !~ %(refused_by_name)s
    RETURNING o.id
)
SELECT (SELECT count(*) FROM requeued) + (SELECT count(*) FROM reconsidered)

-- Claims ------------------------------------------------------------------------------

-- name: claim_pending
-- Leases the next objects to extract. A lease that ended is free for anybody: its run
-- died, and the object remembers that. A run that has used its time slice gets none,
-- once it has settled something, while others wait. Nor does a tenant that has
-- downloaded its bytes of the day. What its runs are downloading counts. The last
-- object may go beyond: else one that is larger than the limit would wait for ever.
WITH source AS MATERIALIZED (
    SELECT c.id, CASE WHEN b.bytes_left IS NOT NULL THEN b.bytes_left - (
        SELECT coalesce(sum(o.size), 0) FROM connectors.objects o
        WHERE o.claimed_by IS NOT NULL AND o.tenant_id = c.tenant_id
          AND o.state IN ('pending', 'failed') AND o.claim_expires_at >= now()
    ) END AS bytes_left
    FROM connectors.connectors c CROSS JOIN LATERAL (
        SELECT connectors.bytes_left(c.tenant_id, %(bytes_per_day)s) AS bytes_left
    ) b
    WHERE c.id = %(connector_id)s AND c.generation = %(generation)s
      AND NOT EXISTS (
          SELECT FROM connectors.runs r
          WHERE r.dagster_run_id = %(run)s AND {settled_by_extraction} > 0
            AND connectors.must_yield(r.id, %(time_slice)s, %(concurrent_runs)s)
      )
), candidates AS (
    SELECT id, size, claimed_by IS NOT NULL AS died FROM connectors.objects
    WHERE connector_id = (SELECT id FROM source WHERE bytes_left > 0 OR bytes_left IS NULL)
      AND (state = 'pending' OR state = 'failed' AND next_attempt_at <= now())
      AND (claimed_by IS NULL OR claim_expires_at < now())
      AND missing_since_scan IS NULL
      AND id <> ALL(%(busy)s::bigint[])
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT w.id, w.died
    FROM (
        SELECT c.id, c.died, sum(c.size) OVER (ORDER BY c.id) - c.size AS bytes_before
        FROM candidates c
    ) w
    CROSS JOIN source s
    WHERE s.bytes_left IS NULL OR w.bytes_before < s.bytes_left
), claimed AS (
    UPDATE connectors.objects o SET
        claimed_by = %(run)s, claim_expires_at = now() + make_interval(secs => %(lease)s),
        deaths = o.deaths + chosen.died::int
    FROM chosen WHERE o.id = chosen.id
    RETURNING o.id, o.key, o.etag, o.size, o.modified_at, o.attempts, o.deaths,
        CASE WHEN o.attempts = 0 THEN 0 ELSE o.parser_failures END AS parser_failures
)
SELECT c.*, t.content_hash
FROM claimed c
LEFT JOIN connectors.texts t ON t.object_id = c.id AND t.extractor_version = %(extractor)s
ORDER BY c.id

-- name: claim_extracted
-- Leases the next texts to index: at most so many, and so many characters together (but
-- always one). A run's time slice is twice as long here as for extracting, so that what
-- it extracted does not pile up.
WITH candidates AS (
    SELECT o.id, o.claimed_by IS NOT NULL AS died FROM connectors.objects o
    WHERE o.connector_id = (
        SELECT c.id FROM connectors.connectors c
        WHERE c.id = %(connector_id)s AND c.generation = %(generation)s AND NOT EXISTS (
            SELECT FROM connectors.runs r
            WHERE r.dagster_run_id = %(run)s AND r.indexed > 0
              AND connectors.must_yield(r.id, 2 * %(time_slice)s, %(concurrent_runs)s)
        )
    )
      AND o.state = 'extracted'
      AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= now())
      AND (o.claimed_by IS NULL OR o.claim_expires_at < now())
      AND o.missing_since_scan IS NULL
    ORDER BY o.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), weighed AS (
    SELECT c.id, c.died, sum(t.characters) OVER (ORDER BY c.id) - t.characters AS characters_before
    FROM candidates c JOIN connectors.texts t ON t.object_id = c.id
), claimed AS (
    UPDATE connectors.objects o SET
        claimed_by = %(run)s, claim_expires_at = now() + make_interval(secs => %(lease)s),
        deaths = o.deaths + w.died::int
    FROM weighed w WHERE o.id = w.id AND w.characters_before < %(characters)s
    RETURNING o.id, o.key, o.etag, o.size, o.modified_at, o.attempts, o.deaths
)
SELECT c.*, t.text, t.title, t.mime_type, t.content_hash, t.text_hash, t.facts
FROM claimed c JOIN connectors.texts t ON t.object_id = c.id
ORDER BY c.id

-- name: renew_claims
WITH alive AS (
    UPDATE connectors.runs SET heartbeat_at = now() WHERE dagster_run_id = %(run)s
), held AS (
    SELECT id FROM connectors.objects WHERE claimed_by = %(run)s ORDER BY key FOR UPDATE
)
UPDATE connectors.objects o SET claim_expires_at = now() + make_interval(secs => %(lease)s)
FROM held WHERE o.id = held.id

-- name: release_claims
-- A run that ends early gives its objects back at once.
WITH held AS (
    SELECT id FROM connectors.objects WHERE claimed_by = %(run)s ORDER BY key FOR UPDATE
)
UPDATE connectors.objects o SET claimed_by = NULL, claim_expires_at = NULL
FROM held WHERE o.id = held.id

-- Outcomes ----------------------------------------------------------------------------

-- name: store_extracted
-- Stores texts of objects whose lease the run still holds. The others' are dropped. The
-- ledger takes the version that was read, which may be newer than the listing's. Returns
-- whether one of them shows that the source's tokens do not change with the bytes.
WITH incoming AS (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(etags)s::text[], %(sizes)s::bigint[], %(modified)s::timestamptz[],
        %(arrived)s::text[], %(digests)s::bool[],
        %(content_hashes)s::bytea[], %(text_hashes)s::bytea[],
        %(texts)s::text[], %(titles)s::text[],
        %(mime_types)s::text[], %(facts)s::text[], %(warnings)s::text[], %(versions)s::text[]
    ) AS i (
        id, etag, size, modified_at, arrived_etag, is_digest,
        content_hash, text_hash, text, title, mime_type, facts, warnings, version
    )
), contradicted AS (
    -- Indexed before with the same tokens and other bytes.
    SELECT FROM incoming i
    JOIN connectors.objects o ON o.id = i.id AND o.claimed_by = %(run)s
    JOIN connectors.texts t ON t.object_id = i.id
    WHERE (o.etag, o.indexed_etag) = (i.etag, i.etag) AND o.indexed_text_hash = t.text_hash
      AND o.arrived_etag IS NOT DISTINCT FROM i.arrived_etag AND t.content_hash <> i.content_hash
      -- Another version may have read other bytes of the same ones, such as packed ones.
      AND ltrim(t.extractor_version, '~') = i.version
), held AS (
    UPDATE connectors.objects o SET
        state = 'extracted', etag = i.etag, size = i.size, modified_at = i.modified_at,
        arrived_etag = i.arrived_etag, etag_is_digest = i.is_digest, archive_checks = 0,
        warnings = string_to_array(i.warnings, ' '),
        error_code = NULL, error_message = NULL, next_attempt_at = NULL, attempts = 0, deaths = 0,
        claimed_by = NULL, claim_expires_at = NULL, failed_by = NULL
    FROM incoming i WHERE o.id = i.id AND o.claimed_by = %(run)s
    RETURNING o.id, o.tenant_id
), stored AS (
    INSERT INTO connectors.texts AS t (
        object_id, tenant_id, text, title, mime_type, facts, characters,
        content_hash, text_hash, extractor_version
    )
    SELECT h.id, h.tenant_id, i.text, i.title, i.mime_type, i.facts::jsonb, length(i.text),
        i.content_hash, i.text_hash, i.version
    FROM held h JOIN incoming i ON i.id = h.id
    ON CONFLICT (object_id) DO UPDATE SET
        text = EXCLUDED.text, title = EXCLUDED.title, mime_type = EXCLUDED.mime_type,
        facts = EXCLUDED.facts,
        characters = EXCLUDED.characters,
        content_hash = EXCLUDED.content_hash, text_hash = EXCLUDED.text_hash,
        extractor_version = EXCLUDED.extractor_version, extracted_at = now()
)
SELECT EXISTS (SELECT FROM contradicted)

-- name: store_unchanged
-- Records new versions with known bytes. Where the graph holds that text already, the
-- object is done. Its document's properties follow in the same transaction.
WITH incoming AS (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(etags)s::text[], %(sizes)s::bigint[], %(modified)s::timestamptz[],
        %(arrived)s::text[], %(digests)s::bool[]
    )
        AS i (id, etag, size, modified_at, arrived_etag, is_digest)
), held AS (
    UPDATE connectors.objects o SET
        state = CASE WHEN o.indexed_text_hash = t.text_hash
                     AND (o.chunker_version, o.encoder_version) = (%(chunker)s, %(encoder)s)
                THEN 'indexed' ELSE 'extracted' END::connectors.object_state,
        indexed_etag = CASE
            WHEN o.indexed_text_hash = t.text_hash THEN i.etag ELSE o.indexed_etag
        END,
        etag = i.etag, size = i.size, modified_at = i.modified_at,
        arrived_etag = i.arrived_etag, etag_is_digest = i.is_digest, archive_checks = 0,
        error_code = NULL, error_message = NULL, next_attempt_at = NULL, attempts = 0, deaths = 0,
        claimed_by = NULL, claim_expires_at = NULL, failed_by = NULL
    FROM incoming i JOIN connectors.texts t ON t.object_id = i.id
    WHERE o.id = i.id AND o.claimed_by = %(run)s
    RETURNING o.id, o.document_id, o.etag, o.size, o.modified_at, o.state
)
SELECT id, document_id, etag, size, modified_at FROM held WHERE state = 'indexed'

-- name: store_failures
-- Records failures. Returns the documents that the graph must forget: those of objects
-- whose current version holds no readable text.
WITH incoming AS (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(states)s::text[], %(codes)s::text[], %(messages)s::text[],
        %(delays)s::float8[], %(forget)s::bool[], %(of_parser)s::bool[]
    ) AS i (id, state, code, message, delay, forget, of_parser)
), before AS (
    SELECT o.id, o.document_id FROM connectors.objects o JOIN incoming i ON i.id = o.id AND i.forget
    WHERE o.claimed_by = %(run)s
), held AS (
    UPDATE connectors.objects o SET
        -- A text that is stored stays usable: after an encoder's failure, the next
        -- attempt starts from there.
        state = CASE
            WHEN i.state = 'failed' AND o.state = 'extracted' THEN 'extracted'
            WHEN i.state = 'archived' THEN 'dead'
            ELSE i.state
        END::connectors.object_state,
        error_code = i.code, error_message = i.message, deaths = 0,
        -- Nothing was tried with an object that is archived.
        attempts = o.attempts + (i.state <> 'archived')::int,
        -- Whatever gives fresh attempts sets attempts to 0, and knows nothing of this column.
        parser_failures = CASE WHEN o.attempts = 0 THEN 0 ELSE o.parser_failures END
            + i.of_parser::int,
        next_attempt_at = CASE WHEN i.state = 'archived' THEN {next_archive_check}
            ELSE now() + make_interval(secs => i.delay) END,
        archive_checks = o.archive_checks + (i.state = 'archived')::int,
        claimed_by = NULL, claim_expires_at = NULL,
        failed_by = CASE WHEN i.state = 'failed' THEN (
            SELECT id FROM connectors.runs WHERE dagster_run_id = %(run)s
        ) END,
        document_id = CASE WHEN i.forget THEN NULL ELSE o.document_id END,
        indexed_etag = CASE WHEN i.forget THEN NULL ELSE o.indexed_etag END,
        indexed_text_hash = CASE WHEN i.forget THEN NULL ELSE o.indexed_text_hash END,
        indexed_at = CASE WHEN i.forget THEN NULL ELSE o.indexed_at END,
        chunks = CASE WHEN i.forget THEN 0 ELSE o.chunks END,
        warnings = CASE WHEN i.forget THEN '{}' ELSE o.warnings END
    FROM incoming i WHERE o.id = i.id AND o.claimed_by = %(run)s
    RETURNING o.id, i.forget
), forgotten AS (
    DELETE FROM connectors.texts t USING held WHERE t.object_id = held.id AND held.forget
)
SELECT held.id, before.document_id FROM held LEFT JOIN before ON before.id = held.id

-- name: lock_claimed
-- The objects whose lease the run still holds, locked until the write commits. A run
-- that was overtaken writes nothing. With each object comes what the run's sync counts of
-- it already.
SELECT o.id, coalesce(o.found_by = r.id, false) AS found_here,
    CASE WHEN o.failed_by = r.id THEN o.error_code END AS failed_here
FROM connectors.objects o LEFT JOIN connectors.runs r ON r.dagster_run_id = %(run)s
WHERE o.id = ANY(%(ids)s::bigint[]) AND o.claimed_by = %(run)s
ORDER BY o.key FOR UPDATE OF o

-- name: store_indexed
-- Records what was indexed. Returns the seconds since each was detected; none for one
-- that was searchable before, or that somebody queued again.
UPDATE connectors.objects o SET
    state = 'indexed', indexed_etag = o.etag, indexed_at = now(),
    document_id = i.document_id, chunks = i.chunks,
    indexed_text_hash = t.text_hash, chunker_version = %(chunker)s, encoder_version = %(encoder)s,
    attempts = 0, deaths = 0, next_attempt_at = NULL, error_code = NULL, error_message = NULL,
    claimed_by = NULL, claim_expires_at = NULL, failed_by = NULL
FROM unnest(%(ids)s::bigint[], %(document_ids)s::uuid[], %(chunks)s::int[])
    AS i (id, document_id, chunks)
JOIN connectors.texts t ON t.object_id = i.id
WHERE o.id = i.id
RETURNING CASE WHEN o.queued_at = o.detected_at
    THEN greatest(extract(epoch FROM clock_timestamp() - o.detected_at), 0)::float8 END

-- name: detach_documents
WITH before AS (
    SELECT id, document_id FROM connectors.objects WHERE id = ANY(%(ids)s::bigint[]) FOR UPDATE
), texts AS (
    DELETE FROM connectors.texts t USING before WHERE t.object_id = before.id
)
UPDATE connectors.objects o SET
    document_id = NULL, indexed_etag = NULL, indexed_at = NULL, indexed_text_hash = NULL,
    chunks = 0, warnings = '{}'
FROM before WHERE o.id = before.id AND (before.document_id IS NOT NULL OR o.warnings <> '{}')
RETURNING before.document_id

-- name: count_run
-- Counts go in with the work they count, so that a killed run loses none. They go into
-- the run's row, into the counters that outlive it, and bytes into what the tenant used
-- of its day. The last statement of its transaction; see counters.py.
WITH run AS (
    UPDATE connectors.runs SET
        {add_run_counters},
        errors = CASE WHEN %(errors)s::jsonb = '{}' THEN errors ELSE (
            SELECT coalesce(jsonb_object_agg(code, n), '{}') FROM (
                SELECT code, sum(n::bigint) AS n
                FROM (
                    SELECT * FROM jsonb_each_text(errors)
                    UNION ALL
                    SELECT * FROM jsonb_each_text(%(errors)s::jsonb)
                ) e (code, n)
                GROUP BY code HAVING sum(n::bigint) <> 0
            ) summed
        ) END,
        heartbeat_at = now()
    WHERE dagster_run_id = %(run)s
    RETURNING connector_id, tenant_id
), usage AS (
    INSERT INTO connectors.tenant_usage AS u (day, tenant_id, bytes)
    SELECT (now() AT TIME ZONE 'UTC')::date, tenant_id, %(bytes_fetched)s
    FROM run WHERE %(bytes_fetched)s > 0
    ON CONFLICT (day, tenant_id) DO UPDATE SET bytes = u.bytes + EXCLUDED.bytes
)
INSERT INTO connectors.counters AS c (tenant_id, provider, name, label, value)
SELECT r.tenant_id, (SELECT provider FROM connectors.connectors WHERE id = r.connector_id),
    n.name, n.label, n.value
FROM run r
CROSS JOIN unnest(%(names)s::text[], %(labels)s::text[], %(values)s::float8[])
    AS n (name, label, value)
ORDER BY n.name COLLATE "C", n.label COLLATE "C"
ON CONFLICT (tenant_id, provider, name, label) DO UPDATE SET value = c.value + EXCLUDED.value

-- name: count_objects
-- Counts what a scan did to a connector's objects, in the transaction that did it and
-- as its last statement.
INSERT INTO connectors.counters AS c (tenant_id, provider, name, label, value)
SELECT k.tenant_id, k.provider, n.name, n.label, n.value
FROM connectors.connectors k
CROSS JOIN unnest(%(names)s::text[], %(labels)s::text[], %(values)s::float8[])
    AS n (name, label, value)
WHERE k.id = %(connector_id)s
ORDER BY n.name COLLATE "C", n.label COLLATE "C"
ON CONFLICT (tenant_id, provider, name, label) DO UPDATE SET value = c.value + EXCLUDED.value

-- name: note_versions
-- A run that outlived an upgrade wrote rows by older versions than the last scan looked
-- for. The next scan looks again.
UPDATE connectors.connectors
SET versions = %(versions)s
WHERE id = %(connector_id)s
  AND versions <> %(versions)s

-- name: reset_for_mode
-- Failed: retries and dead letters now, with fresh attempts. All: every object again.
WITH run AS (
    UPDATE connectors.runs SET mode_applied = true
    WHERE dagster_run_id = %(run)s AND NOT mode_applied RETURNING connector_id
), texts_outdated AS (
    -- Else the same bytes would count as extracted already.
    UPDATE connectors.texts t SET extractor_version = {to_be_read_again}
    FROM run JOIN connectors.objects o ON o.connector_id = run.connector_id
    WHERE t.object_id = o.id AND %(mode)s = 'all' AND NOT %(keep_texts)s
)
UPDATE connectors.objects o SET
    -- Embedding again needs no download where the text is stored.
    state = CASE
            WHEN (%(keep_texts)s OR %(mode)s = 'failed') AND o.state IN ('extracted', 'indexed')
            THEN 'extracted' ELSE 'pending' END::connectors.object_state,
    attempts = 0, next_attempt_at = NULL, claimed_by = NULL, claim_expires_at = NULL,
    found_by = NULL
FROM run
WHERE o.connector_id = run.connector_id AND (o.claimed_by IS NULL OR o.claim_expires_at < now())
  -- The source would refuse it again. The run's scan asks whether it can be read by now.
  AND NOT {is_archived}
  AND CASE %(mode)s
      WHEN 'failed' THEN o.state IN ('failed', 'dead')
          OR o.state = 'extracted' AND o.error_code IS NOT NULL
      WHEN 'all' THEN o.state IN ('extracted', 'indexed')
          OR NOT %(keep_texts)s AND o.state IN ('failed', 'dead')
          -- What its name or its size of 0 settled would be settled the same way again,
          -- without a download.
          OR NOT %(keep_texts)s AND o.state = 'skipped' AND o.size > 0
             AND lower(o.key) !~ %(refused_by_name)s
      ELSE false END

-- Runs --------------------------------------------------------------------------------

-- part: count_finished_runs
-- Counts the runs in `finished`, and how long they took, into the tenants' counters.
INSERT INTO connectors.counters AS c (tenant_id, provider, name, label, value)
SELECT f.tenant_id, k.provider, n.name, n.label, sum(n.value)
FROM finished f
JOIN connectors.connectors k ON k.id = f.connector_id
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM f.ended_at - f.started_at)::float8 AS seconds
) duration
CROSS JOIN LATERAL (VALUES
    ('runs_finished', f.status, 1),
    ('run_seconds', 'sum', duration.seconds),
    ('run_seconds',
     (%(bucket_labels)s::text[])[width_bucket(duration.seconds, %(buckets)s::float8[]) + 1], 1)
) AS n (name, label, value)
GROUP BY f.tenant_id, k.provider, n.name, n.label
ORDER BY f.tenant_id COLLATE "C", k.provider COLLATE "C", n.name COLLATE "C", n.label COLLATE "C"
ON CONFLICT (tenant_id, provider, name, label) DO UPDATE SET value = c.value + EXCLUDED.value

-- name: work
-- What the `work_queue` sensor needs to know: connectors with due objects, with no scan
-- yet, or with a scan that no tick carries on, beside the runs that they have. One
-- statement, which writes nothing when nothing happened. Runs without a heartbeat for long are
-- closed on the way: their process is gone.
WITH finished AS (
    UPDATE connectors.runs SET status = 'failed', finished_at = now(), lost_at = now()
    WHERE status = 'running' AND heartbeat_at < now() - make_interval(secs => %(heartbeat_timeout)s)
    RETURNING id, connector_id, tenant_id, status, started_at, heartbeat_at AS ended_at
), expired AS (
    -- Emitted again and again for a day, and never started: the request is too old.
    UPDATE connectors.runs SET status = 'expired', finished_at = now()
    WHERE status = 'waiting' AND requested_at < now() - interval '1 day'
), counted AS (
    {count_finished_runs}
), spent AS MATERIALIZED (
    -- Tenants that have downloaded their bytes of the day: extracted objects are still
    -- indexed, pending ones wait.
    SELECT u.tenant_id FROM connectors.tenant_usage u
    WHERE u.day = (now() AT TIME ZONE 'UTC')::date
      AND connectors.bytes_left(u.tenant_id, %(bytes_per_day)s) <= 0
), needs AS (
    SELECT c.id, c.tenant_id, c.partition_key, d.due, d.fresh,
        (SELECT count(*) FROM connectors.runs r
         WHERE r.connector_id = c.id AND r.status IN ('waiting', 'running')
           AND r.id NOT IN (SELECT id FROM finished)) AS live,
        CASE WHEN c.last_scan_started_at IS NULL THEN 'registered'
             -- While a source does not answer, polls go on asking. A run would take a
             -- slot of the queue for that.
             WHEN c.failed_polls = 0 AND EXISTS (
                 SELECT FROM connectors.scans s WHERE s.connector_id = c.id
                   AND s.status = 'running'
                   -- One that stands still, or that only a run can carry out.
                   AND (NOT c.lists_in_order
                        OR s.updated_at < now() - make_interval(secs => %(scan_idle)s))
             ) THEN 'scan'
        END AS scan_reason,
        EXISTS (
            SELECT FROM connectors.runs r WHERE r.connector_id = c.id AND r.status = 'waiting'
        ) AS waiting,
        -- Whatever made the last runs or polls fail, further runs every few seconds
        -- would not help. What somebody stopped waits for the next poll.
        c.runs_held OR coalesce(c.runs_paused_until > now(), false)
            OR coalesce(c.polls_paused_until > now(), false)
            OR c.failed_polls > 1 AS paused
    FROM connectors.connectors c CROSS JOIN LATERAL (
        SELECT count(*) AS due, count(*) FILTER (WHERE next_attempt_at IS NULL) AS fresh FROM (
            SELECT o.next_attempt_at FROM connectors.objects o
            WHERE o.connector_id = c.id AND o.state IN ('pending', 'extracted', 'failed')
              AND o.state = ANY(CASE WHEN c.tenant_id IN (SELECT tenant_id FROM spent)
                  THEN ARRAY['extracted'] ELSE ARRAY['pending', 'extracted', 'failed']
              END::connectors.object_state[])
              AND (o.state = 'pending' OR o.next_attempt_at IS NULL OR o.next_attempt_at <= now())
              AND (o.claimed_by IS NULL OR o.claim_expires_at < now())
              AND o.missing_since_scan IS NULL
            LIMIT %(most)s
        ) due
    ) d
    WHERE c.enabled
)
SELECT id, tenant_id, partition_key, CASE WHEN paused THEN 0 ELSE due END, live,
    CASE WHEN NOT paused THEN scan_reason END,
    fresh = 0
FROM needs
WHERE waiting OR NOT paused AND (due > 0 OR scan_reason IS NOT NULL) AND live < %(cap)s

-- name: silent_runs
-- Runs that have shown no sign of life for a while, and whose end nobody asked for here.
SELECT connector_id, dagster_run_id FROM connectors.runs
WHERE status = 'running' AND cancelled_by IS NULL
  AND heartbeat_at < now() - make_interval(secs => %(seconds)s)
ORDER BY heartbeat_at LIMIT 500

-- name: lost_runs
-- Runs that were closed because they had no heartbeat, and that Dagster does not yet know
-- to be lost; and whether somebody had asked for their end.
SELECT dagster_run_id, cancelled_by IS NOT NULL FROM connectors.runs WHERE lost_at IS NOT NULL

-- name: acknowledge_lost
UPDATE connectors.runs SET lost_at = NULL WHERE dagster_run_id = ANY(%(runs)s::text[])

-- name: request_run
INSERT INTO connectors.runs (connector_id, tenant_id, trigger, with_scan)
VALUES (%(connector_id)s, %(tenant_id)s, %(trigger)s, %(with_scan)s)
RETURNING id

-- name: record_poll
-- Records what a tick's scan found. It asks for a run, or counts as a sync of its own:
-- where no run is needed, where one waits already that will take up what was found, or
-- where nothing may be downloaded today. The run that is asked for while the connector's
-- first listing is under way goes on with that, so that a first sync is one row.
INSERT INTO connectors.runs
    (id, connector_id, tenant_id, trigger, with_scan, status, started_at, finished_at,
     {run_counters})
SELECT %(sync_id)s, %(connector_id)s, %(tenant_id)s,
    CASE WHEN asks AND %(lists)s THEN 'registered' ELSE 'poll' END, asks AND %(lists)s,
    CASE WHEN asks THEN 'waiting' ELSE 'succeeded' END,
    CASE WHEN NOT asks THEN now() END, CASE WHEN NOT asks THEN now() END,
    {run_counter_values}
FROM (
    SELECT %(needs_run)s AND NOT EXISTS (
        SELECT FROM connectors.runs WHERE connector_id = %(connector_id)s AND status = 'waiting'
    ) AND coalesce(connectors.bytes_left(%(tenant_id)s, %(bytes_per_day)s) > 0, true) AS asks
) decision

-- name: request_manual_run
-- A second request while one waits joins it, and has it asked for at once. The runs
-- that it was asked for with may have been lost before they started. What waits after a
-- cancellation goes on with it.
WITH resumed AS (
    UPDATE connectors.connectors SET runs_held = false WHERE id = %(connector_id)s AND runs_held
)
INSERT INTO connectors.runs (connector_id, tenant_id, trigger, with_scan, mode)
VALUES (%(connector_id)s, %(tenant_id)s, 'manual', true, %(mode)s)
ON CONFLICT (connector_id, mode) WHERE status = 'waiting' AND trigger = 'manual'
    DO UPDATE SET emitted_at = CASE
        WHEN runs.emitted_at > now() - interval '1 minute' THEN runs.emitted_at
    END
RETURNING id

-- name: runs_to_emit
-- Requests that Dagster was not asked for yet, or that it was asked for and never
-- started. Those wait longer each time, because a full queue is no reason to queue
-- more. Of one tenant only so many are at Dagster at once, whatever number of
-- connectors it has: Dagster's queue knows no tenants, and who comes later must not
-- come last. With each request comes how many of its tenant's go before it.
WITH admitted AS (
    SELECT id, nth FROM (
        SELECT r.id, r.status, r.emitted_at, row_number() OVER (PARTITION BY r.tenant_id ORDER BY
            r.status = 'running' DESC, r.trigger = 'manual' DESC, r.emitted_at IS NOT NULL DESC,
            r.trigger = 'registered' DESC, r.requested_at, r.id) AS nth
        FROM connectors.runs r JOIN connectors.connectors k ON k.id = r.connector_id AND k.enabled
        WHERE r.status IN ('waiting', 'running')
    ) live
    WHERE status = 'waiting' AND nth <= %(runs_per_tenant)s
), due AS (
    SELECT r.id, a.nth FROM connectors.runs r JOIN admitted a ON a.id = r.id
    WHERE r.status = 'waiting'
      AND (%(connector_id)s::uuid IS NULL OR r.connector_id = %(connector_id)s)
      AND (r.emitted_at IS NULL OR r.emitted_at < now() - make_interval(
          secs => (%(backoff)s::float8[])[
              greatest(1, least(r.emissions, cardinality(%(backoff)s::float8[])))
          ]
      ))
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE connectors.runs r SET emitted_at = now(), emissions = emissions + 1
FROM due, connectors.connectors c
WHERE r.id = due.id AND c.id = r.connector_id
RETURNING r.id, r.connector_id, r.tenant_id, c.partition_key, r.trigger, r.with_scan, r.mode,
    r.emissions, due.nth - 1

-- name: start_run
-- Binds a Dagster run to the request that it answers. A retried run takes over the row,
-- the counts and the objects of the run that died. A run that was not requested
-- here gets a row of its own, and so does one that a person executes again. A second run
-- for the same request gets no row: a request that waited long is emitted more than once,
-- and one run answers it.
WITH inherited AS (
    UPDATE connectors.objects SET claimed_by = NULL, claim_expires_at = NULL, deaths = deaths + 1
    WHERE claimed_by = %(parent_run)s
), candidates AS (
    SELECT id, 1 AS preference FROM connectors.runs
    WHERE dagster_run_id = %(run)s AND cancelled_by IS NULL
    UNION ALL
    SELECT id, 2 FROM connectors.runs
    WHERE dagster_run_id = %(parent_run)s AND status <> 'succeeded' AND cancelled_by IS NULL
    UNION ALL
    SELECT id, 3 FROM connectors.runs
    WHERE id = %(request_id)s AND dagster_run_id IS NULL AND cancelled_by IS NULL
), taken AS (
    UPDATE connectors.runs SET
        dagster_run_id = %(run)s, status = 'running',
        started_at = coalesce(started_at, now()), heartbeat_at = now(),
        finished_at = NULL, lost_at = NULL, launch_error = NULL, waits_for = NULL
    WHERE id = (SELECT id FROM candidates ORDER BY preference LIMIT 1)
      AND connector_id = %(connector_id)s
    RETURNING id
), fresh AS (
    INSERT INTO connectors.runs
        (connector_id, tenant_id, trigger, with_scan, mode, dagster_run_id, status,
         emitted_at, started_at, heartbeat_at)
    SELECT %(connector_id)s, %(tenant_id)s, 'dagster', %(with_scan)s, %(mode)s, %(run)s, 'running',
        now(), now(), now()
    WHERE NOT EXISTS (SELECT FROM taken)
      AND NOT EXISTS (SELECT FROM connectors.runs WHERE dagster_run_id = %(run)s)
      AND (
        %(parent_run)s::text IS NOT NULL
        OR NOT EXISTS (
            SELECT FROM connectors.runs
            WHERE id = %(request_id)s AND (dagster_run_id IS NOT NULL OR cancelled_by IS NOT NULL)
        )
      )
    RETURNING id
), resumed AS (
    -- Dagster starts runs again. Who started a run at Dagster wants the rest to go on.
    UPDATE connectors.connectors SET
        runs_held = runs_held AND NOT EXISTS (SELECT FROM fresh),
        last_error_code = nullif(last_error_code, 'launch_failed'),
        failed_runs = CASE WHEN last_error_code = 'launch_failed' THEN 0 ELSE failed_runs END,
        runs_paused_until = CASE WHEN last_error_code = 'launch_failed' THEN NULL
            ELSE runs_paused_until END
    WHERE id = %(connector_id)s
      AND (runs_held AND EXISTS (SELECT FROM fresh) OR last_error_code = 'launch_failed')
)
SELECT id FROM taken UNION ALL SELECT id FROM fresh

-- name: who_cancelled
-- Who asked for the end of a run, or of the sync that it was started for. A run that
-- Dagster starts by itself in place of a cancelled one is cancelled, too.
SELECT cancelled_by FROM connectors.runs
WHERE cancelled_by IS NOT NULL AND (
    dagster_run_id = %(run)s
    OR dagster_run_id = %(parent_run)s AND %(is_retry)s
    OR id = %(request_id)s AND (
        %(parent_run)s::text IS NULL
        -- In place of one that never began.
        OR %(is_retry)s AND NOT EXISTS (
            SELECT FROM connectors.runs WHERE dagster_run_id = %(parent_run)s
        )
    )
)
LIMIT 1

-- name: why_stop
-- Who asked for the end of a run that is under way. No row: it is gone with its
-- connector.
SELECT cancelled_by FROM connectors.runs WHERE dagster_run_id = %(run)s

-- name: cancel_runs
-- Ends the syncs that wait, and asks those that run to end. The rest of the connector's
-- work waits for the next poll, or for a sync that somebody asks for. Returns what ends.
WITH live AS (
    SELECT id FROM connectors.runs
    WHERE status IN ('waiting', 'running') AND cancelled_by IS NULL
      AND connector_id = %(connector_id)s
      AND (%(id)s::uuid IS NULL OR id = %(id)s)
      AND (%(run)s::text IS NULL OR dagster_run_id = %(run)s)
    ORDER BY id FOR UPDATE
), cancelled AS (
    UPDATE connectors.runs r SET
        cancelled_by = %(by)s, waits_for = NULL,
        status = CASE WHEN r.status = 'waiting' THEN 'failed' ELSE r.status END,
        finished_at = CASE WHEN r.status = 'waiting' THEN now() END
    FROM live WHERE r.id = live.id
    RETURNING r.id
), held AS (
    UPDATE connectors.connectors SET runs_held = true
    WHERE id = %(connector_id)s AND NOT runs_held AND EXISTS (SELECT FROM cancelled)
)
SELECT id FROM cancelled

-- name: syncs_at_dagster
-- Syncs that Dagster was asked for and that have not begun, oldest first.
SELECT id FROM connectors.runs WHERE status = 'waiting' AND emitted_at IS NOT NULL
ORDER BY requested_at LIMIT %(limit)s

-- name: record_launches
-- What Dagster knows of syncs that have not begun. Written only when it changes. One that
-- Dagster could not start counts as a failed run of its connector; one that was cancelled
-- at Dagster is cancelled here.
WITH known AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(waits_for)s::text[], %(errors)s::text[],
        %(cancelled)s::bool[]) AS k (id, waits_for, error, cancelled)
), locked AS (
    SELECT r.id, k.waits_for, k.error, k.cancelled FROM connectors.runs r JOIN known k USING (id)
    WHERE r.status = 'waiting'
      AND (r.waits_for IS DISTINCT FROM k.waits_for OR k.error IS NOT NULL OR k.cancelled)
    ORDER BY r.id FOR UPDATE OF r
), written AS (
    UPDATE connectors.runs r SET
        waits_for = l.waits_for, launch_error = l.error,
        cancelled_by = CASE WHEN l.cancelled THEN %(by)s END,
        status = CASE WHEN l.waits_for IS NULL THEN 'failed' ELSE 'waiting' END,
        finished_at = CASE WHEN l.waits_for IS NULL THEN now() END
    FROM locked l WHERE r.id = l.id
    RETURNING r.connector_id, r.launch_error, r.cancelled_by
), ended AS (
    SELECT connector_id, max(launch_error) AS error, bool_or(cancelled_by IS NOT NULL) AS cancelled
    FROM written GROUP BY connector_id
    HAVING bool_or(launch_error IS NOT NULL OR cancelled_by IS NOT NULL)
)
UPDATE connectors.connectors k SET
    runs_held = k.runs_held OR e.cancelled,
    last_error_code = CASE WHEN e.error IS NULL THEN k.last_error_code ELSE 'launch_failed' END,
    last_error_message = coalesce(e.error, k.last_error_message),
    last_error_at = CASE WHEN e.error IS NULL THEN k.last_error_at ELSE now() END,
    failed_runs = k.failed_runs + (e.error IS NOT NULL)::int,
    runs_paused_until = CASE WHEN e.error IS NULL THEN k.runs_paused_until
        ELSE now() + make_interval(secs => (%(backoff)s::float8[])[
            least(k.failed_runs + 1, cardinality(%(backoff)s::float8[]))
        ]) END
FROM ended e WHERE k.id = e.connector_id

-- name: release_hold
UPDATE connectors.connectors SET runs_held = false WHERE id = %(connector_id)s AND runs_held

-- name: is_asked_for
-- Whether a person started a run, here or at Dagster. A run that the ledger does not
-- know counts as started by a person.
SELECT NOT EXISTS (
    SELECT FROM connectors.runs
    WHERE dagster_run_id = %(run)s AND trigger NOT IN ('manual', 'dagster')
)

-- name: must_yield
SELECT coalesce((
    SELECT connectors.must_yield(id, %(time_slice)s, %(concurrent_runs)s)
    FROM connectors.runs WHERE dagster_run_id = %(run)s
), false)

-- name: finish_run
-- Closes a run. Its duration is counted each time it stops running: once, or once more
-- when it is tried again. One that somebody cancelled says nothing about the next.
WITH before AS (
    SELECT id, status FROM connectors.runs WHERE dagster_run_id = %(run)s FOR UPDATE
), closed AS (
    UPDATE connectors.runs r SET
        status = %(status)s, finished_at = now(), heartbeat_at = now()
    FROM before b WHERE r.id = b.id
    RETURNING r.connector_id, r.tenant_id, {run_status} AS status, b.status AS status_before,
        r.started_at, clock_timestamp() AS ended_at
), paused AS (
    UPDATE connectors.connectors k SET
        failed_runs = CASE WHEN c.status = 'failed' THEN k.failed_runs + 1 ELSE 0 END,
        -- Each entry is the pause after so many failures in a row. The last one holds
        -- for more.
        runs_paused_until = CASE WHEN c.status = 'failed' THEN now() + make_interval(
            secs => (%(backoff)s::float8[])[
                least(k.failed_runs + 1, cardinality(%(backoff)s::float8[]))
            ]
        ) END,
        last_error_code = CASE
            WHEN c.status = 'succeeded'
              AND k.last_error_code IN (
                  'model', 'parser_unavailable', 'launch_failed', 'run_failed'
              ) THEN NULL
            ELSE k.last_error_code
        END
    FROM closed c
    WHERE k.id = c.connector_id
      AND (c.status = 'failed' OR c.status = 'succeeded' AND k.failed_runs > 0)
), finished AS (
    SELECT * FROM closed WHERE status_before = 'running'
)
{count_finished_runs}

-- name: run_counts
SELECT {run_counters}, errors FROM connectors.runs WHERE dagster_run_id = %(run)s

-- name: progress
-- Objects by state.
SELECT {object_state}, count(*) FROM connectors.objects o
WHERE connector_id = %(connector_id)s GROUP BY 1

-- name: failure_causes
-- The ledger's failures by cause, with one example key each.
SELECT error_code, {object_state}, count(*), min(error_message), min(key)
FROM connectors.objects o
WHERE connector_id = %(connector_id)s AND state IN ('failed', 'dead', 'skipped', 'extracted')
  AND error_code IS NOT NULL
GROUP BY 1, 2 ORDER BY count(*) DESC, error_code

-- name: warnings
-- Of the connector's texts, the kinds of their warnings, with one example key each.
SELECT kind, count(*), min(o.key)
FROM connectors.objects o CROSS JOIN unnest(o.warnings) AS kind
WHERE o.connector_id = %(connector_id)s AND o.warnings <> '{}'
GROUP BY kind ORDER BY count(*) DESC, kind

-- name: not_read_whole
SELECT count(*) FROM connectors.objects o
WHERE o.connector_id = %(connector_id)s AND o.warnings <> '{}'
  AND o.warnings && %(missing)s::text[]
