-- name: make_incoming
-- Rows on their way into the graph. The table ends with the transaction: behind a pooler,
-- the session is somebody else's then. And what somebody left in it is not ours.
DROP TABLE IF EXISTS pg_temp.incoming_nodes;
CREATE TEMPORARY TABLE incoming_nodes (
    id uuid PRIMARY KEY, document_id uuid NOT NULL, props jsonb NOT NULL, embedding vector(384),
    edge jsonb, words jsonb
) ON COMMIT DROP

-- name: copy_incoming
COPY incoming_nodes (id, document_id, props, embedding, edge, words) FROM STDIN WITH (FORMAT BINARY)

-- name: write_nodes
-- Rows that would not change are not written: each rewrite costs an insert into the
-- vector index.
INSERT INTO public.nodes AS n
    (id, tenant_id, classes, props, embedding, embedding_status, embedding_updated_at,
     last_refreshed)
SELECT id, %(tenant_id)s, CASE WHEN edge IS NULL THEN '{Document}' ELSE '{Chunk}' END::text[],
    props, embedding,
    CASE WHEN edge IS NULL THEN 'skipped' ELSE 'ready' END, now(), now()
FROM incoming_nodes
ON CONFLICT (id) DO UPDATE SET
    props = EXCLUDED.props,
    embedding = EXCLUDED.embedding, embedding_status = EXCLUDED.embedding_status,
    embedding_error = NULL,
    embedding_updated_at = now(), last_refreshed = now(), updated_at = now(),
    version = n.version + 1
WHERE n.tenant_id = EXCLUDED.tenant_id AND n.props IS DISTINCT FROM EXCLUDED.props

-- name: write_words
-- The trigger of the table makes lexemes of what is shown. Where words are looked up in
-- another form, these take their place; the trigger does not fire for this column.
UPDATE public.nodes n SET text_search_vector = f.lexemes
FROM (
    SELECT i.id,
        setweight(to_tsvector('english', i.words ->> 'title'), 'A')
            || setweight(to_tsvector('english', i.words ->> 'text'), 'B') AS lexemes
    FROM incoming_nodes i WHERE i.words IS NOT NULL
) f
WHERE n.id = f.id AND n.tenant_id = %(tenant_id)s
  AND n.text_search_vector IS DISTINCT FROM f.lexemes

-- name: write_edges
INSERT INTO public.edges AS e (src, rel, dst, props, tenant_id)
SELECT id, 'DERIVED_FROM', document_id, edge, %(tenant_id)s
FROM incoming_nodes WHERE edge IS NOT NULL
ON CONFLICT (src, rel, dst) DO UPDATE SET props = EXCLUDED.props
WHERE e.props IS DISTINCT FROM EXCLUDED.props

-- name: remove_chunks
-- Chunk nodes of the documents that are not on their way in, with every edge at them.
-- Their vectors are kept for a while under the hash of their text. Nodes that others
-- derived from a document are not ours to remove.
WITH vanished AS (
    SELECT c.id, c.props ->> 'text_hash' AS text_hash, c.props ->> 'embedding_model' AS model,
        c.embedding
    FROM public.edges e
    JOIN public.nodes c ON c.id = e.src
    JOIN public.nodes d ON d.id = e.dst
    WHERE e.dst = ANY(%(documents)s::uuid[]) AND e.rel = 'DERIVED_FROM'
      AND d.tenant_id = %(tenant_id)s AND c.tenant_id = %(tenant_id)s AND c.classes @> '{Chunk}'
      AND c.props ->> 'parent_id' = d.props ->> 'external_id'
      AND NOT EXISTS (SELECT FROM incoming_nodes i WHERE i.id = c.id)
), released AS (
    INSERT INTO connectors.released_embeddings
        (tenant_id, encoder_version, text_hash, embedding, expires_at)
    SELECT DISTINCT ON (model, text_hash) %(tenant_id)s, model, text_hash, embedding,
        now() + make_interval(secs => %(reuse_seconds)s)
    FROM vanished
    WHERE %(reuse_seconds)s > 0
      AND model IS NOT NULL AND text_hash IS NOT NULL AND embedding IS NOT NULL
    ON CONFLICT (tenant_id, encoder_version, text_hash)
        DO UPDATE SET expires_at = EXCLUDED.expires_at
), edges_removed AS (
    DELETE FROM public.edges e USING vanished v WHERE e.src = v.id OR e.dst = v.id
)
DELETE FROM public.nodes n USING vanished v WHERE n.id = v.id

-- name: remove_documents
WITH edges_removed AS (
    DELETE FROM public.edges e
    WHERE (e.src = ANY(%(documents)s::uuid[]) OR e.dst = ANY(%(documents)s::uuid[]))
      AND e.tenant_id = %(tenant_id)s
)
DELETE FROM public.nodes n WHERE n.id = ANY(%(documents)s::uuid[]) AND n.tenant_id = %(tenant_id)s

-- name: touch_documents
UPDATE public.nodes n SET
    props = n.props
        || jsonb_build_object('etag', i.etag, 'size', i.size, 'modified_at', i.modified_at),
    updated_at = now(), version = n.version + 1
FROM unnest(%(ids)s::uuid[], %(etags)s::text[], %(sizes)s::bigint[], %(modified)s::text[])
    AS i (id, etag, size, modified_at)
WHERE n.id = i.id AND n.tenant_id = %(tenant_id)s

-- name: find_vectors
-- Vectors of the tenant's chunks with these texts by this model, those of recently
-- removed chunks included.
SELECT DISTINCT ON (text_hash) text_hash, embedding FROM public.nodes
WHERE tenant_id = %(tenant_id)s AND embedding_model = %(encoder)s
  AND text_hash = ANY(%(hashes)s::text[])
  AND embedding IS NOT NULL
UNION ALL
SELECT text_hash, embedding FROM connectors.released_embeddings
WHERE tenant_id = %(tenant_id)s AND encoder_version = %(encoder)s
  AND text_hash = ANY(%(hashes)s::text[])

-- name: purge_released
-- The first so many whose time is over: those of a connector that was removed end all
-- together.
DELETE FROM connectors.released_embeddings WHERE ctid IN (
    SELECT ctid FROM connectors.released_embeddings WHERE expires_at < now()
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)

-- name: sample_chunks
-- A few stored chunks, to check that the encoder still makes the vectors that are
-- stored.
SELECT props ->> 'text', embedding FROM public.nodes
WHERE tenant_id = %(tenant_id)s AND embedding_model = %(encoder)s
  AND text_hash IS NOT NULL AND embedding IS NOT NULL
LIMIT %(limit)s

-- name: dimensions
-- Of the vector column; none when it takes any.
SELECT nullif(atttypmod, -1) FROM pg_attribute
WHERE attrelid = 'public.nodes'::regclass AND attname = 'embedding'

-- name: count_chunks
-- How many chunks a tenant has, and how many of a model, each counted no further than
-- asked. By the index alone, where autovacuum has been since the last writes.
SELECT (
    SELECT count(*) FROM (
        SELECT FROM public.nodes
        WHERE tenant_id = %(tenant_id)s AND text_hash IS NOT NULL LIMIT %(most)s
    ) counted
), (
    SELECT count(*) FROM (
        SELECT FROM public.nodes
        WHERE tenant_id = %(tenant_id)s AND text_hash IS NOT NULL AND embedding_model = %(encoder)s
        LIMIT %(most_of_the_model)s
    ) counted
)

-- name: question_words
-- The first so many different words of the question: each costs time in every chunk.
SELECT ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS word
FROM (
    SELECT lexeme FROM unnest(to_tsvector('english', %(query)s))
    ORDER BY positions[1], lexeme LIMIT %(most_words)s
) found

-- name: rare_words
-- The question's rarest words, as many as it takes for about so many of the tenant's
-- chunks to hold one of them; null for a tenant without chunks, and for a question
-- without words. The sample are the chunks whose texts have the lowest hashes: spread
-- over all documents, and read along an index. The highest of these tells how many
-- chunks there are (k minimum values: Bar-Yossef et al. 2002).
WITH sample AS MATERIALIZED (
    SELECT text_search_vector AS lexemes, text_hash AS hash FROM public.nodes
    WHERE tenant_id = %(tenant_id)s AND text_hash IS NOT NULL AND text_hash ~ '^[0-9a-f]{8}'
    ORDER BY text_hash LIMIT %(sampled)s
), chunks_each AS (
    SELECT 16^8 / (1 + ('x' || left(max(hash), 8))::bit(32)::bigint) AS number FROM sample
), words AS (
    {question_words}
), counted AS (
    SELECT word, (SELECT count(*) FROM sample WHERE lexemes @@ word) AS number FROM words
), added AS (
    SELECT word, sum(number) OVER (
        ORDER BY number, word ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS before
    FROM counted
)
SELECT string_agg(word::text, '|')::tsquery FROM added, chunks_each
WHERE coalesce(before, 0) * chunks_each.number < %(candidates)s

-- name: read_candidates
-- Every chunk of the tenant is read, once. One of another model has words, but no
-- distance.
chunk AS MATERIALIZED (
    SELECT id,
        CASE WHEN embedding_model = %(encoder)s THEN embedding <=> %(vector)s END AS distance,
        CASE WHEN text_search_vector @@ q.words THEN ts_rank(text_search_vector, q.words) END
            AS score
    FROM public.nodes CROSS JOIN question q
    WHERE tenant_id = %(tenant_id)s AND text_hash IS NOT NULL
), nearest AS (
    SELECT id, distance FROM chunk WHERE distance IS NOT NULL ORDER BY distance LIMIT %(depth)s
), matching AS (
    SELECT id, score FROM chunk WHERE score IS NOT NULL ORDER BY score DESC, id LIMIT %(depth)s
)

-- name: look_up_candidates
nearest AS (
    SELECT id, embedding <=> %(vector)s AS distance FROM public.nodes
    WHERE tenant_id = %(tenant_id)s AND text_hash IS NOT NULL
      AND embedding_model = %(encoder)s AND embedding IS NOT NULL
    ORDER BY embedding <=> %(vector)s LIMIT %(depth)s
), matching AS (
    SELECT n.id, ts_rank(n.text_search_vector, q.words) AS score
    FROM public.nodes n CROSS JOIN question q
    WHERE n.tenant_id = %(tenant_id)s AND n.text_hash IS NOT NULL
      AND n.text_search_vector @@ coalesce(%(rare_words)s::tsquery, q.words)
    ORDER BY score DESC, n.id LIMIT %(depth)s
)

-- name: search
-- Vector and full-text rankings of the candidates fused by reciprocal rank: Cormack,
-- Clarke, Buettcher 2009, k = 60. Words count by ts_rank, not by cover density: where
-- any word will do, one that comes five times would outrank five that come once.
WITH question AS (
    -- Any of the words, not all of them: people ask in sentences.
    SELECT coalesce(string_agg(word::text, '|'), '')::tsquery AS words FROM ({question_words}) each
), {candidates}, by_vector AS (
    SELECT id, row_number() OVER (ORDER BY distance, id) AS rank FROM nearest
), by_text AS (
    SELECT id, row_number() OVER (ORDER BY score DESC, id) AS rank FROM matching
), fused AS (
    SELECT id, sum(1.0 / (60 + rank)) AS score
    FROM (SELECT * FROM by_vector UNION ALL SELECT * FROM by_text) ranked
    GROUP BY id ORDER BY score DESC, id LIMIT %(limit)s
)
SELECT d.props ->> 'uri', d.props ->> 'title',
    ts_headline(
        'english', c.props ->> 'text', q.words, 'StartSel="", StopSel="", MaxWords=40, MinWords=20'
    ),
    f.score::float8, (e.props ->> 'chunk_index')::int, d.id,
    (e.props ->> 'char_start')::int, (e.props ->> 'char_end')::int,
    (e.props ->> 'page_from')::int, (e.props ->> 'page_to')::int,
    coalesce(e.props -> 'headings', '[]'), e.props ->> 'table_head',
    coalesce(d.props -> 'warnings', '[]')
FROM fused f
CROSS JOIN question q
JOIN public.nodes c ON c.id = f.id
JOIN public.edges e ON e.src = c.id AND e.rel = 'DERIVED_FROM' AND e.tenant_id = %(tenant_id)s
-- Another tenant's document is nobody's, whatever an edge and a property of the chunk
-- say.
JOIN public.nodes d ON d.id = e.dst AND d.tenant_id = %(tenant_id)s
  AND d.props ->> 'external_id' = c.props ->> 'parent_id'
ORDER BY f.score DESC, c.id

-- name: export_chunks
SELECT d.props ->> 'uri', d.props ->> 'title', d.props ->> 'etag', (e.props ->> 'chunk_index')::int,
    (e.props ->> 'char_start')::bigint, (e.props ->> 'char_end')::bigint,
    (e.props ->> 'page_from')::int, (e.props ->> 'page_to')::int,
    coalesce(e.props -> 'headings', '[]'), e.props ->> 'table_head', c.props ->> 'text',
    c.props ->> 'embedding_model', c.embedding
FROM public.nodes d
JOIN public.edges e ON e.dst = d.id AND e.rel = 'DERIVED_FROM' AND e.tenant_id = %(tenant_id)s
JOIN public.nodes c ON c.id = e.src AND c.tenant_id = %(tenant_id)s
  AND c.classes @> '{Chunk}' AND c.embedding IS NOT NULL
WHERE d.tenant_id = %(tenant_id)s AND d.classes @> '{Document}'
  AND c.props ->> 'parent_id' = d.props ->> 'external_id'
ORDER BY d.id, (e.props ->> 'chunk_index')::int
