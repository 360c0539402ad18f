-- A tenant's vectors of one model, without a look into the properties of each. First, since it keeps out writers only and
-- takes a while.
CREATE INDEX IF NOT EXISTS idx_nodes_chunk_model ON public.nodes (tenant_id, (props ->> 'embedding_model'))
    WHERE classes @> '{Chunk}' AND embedding IS NOT NULL;

-- An exact search reads every vector of a tenant, and ranking by words every lexeme list that matches. Both stay in the
-- row, where they would otherwise be fetched from elsewhere one by one: a page holds two chunks, a vector of 384 floats
-- and the lexemes of 256 tokens each. Holds for rows written from now on.
ALTER TABLE public.nodes ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE public.nodes SET (toast_tuple_target = 4080);
