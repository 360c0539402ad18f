-- Under row-level security Postgres uses an index only for conditions that cannot tell a row's content to somebody who may
-- not see it, and does not know that of a look into JSON: each batch of a sync, and each search, read the properties of
-- every chunk of the tenant, and an audit for each page of its walk. Comparing plain columns is known to be safe. Generated,
-- so that whoever writes a node need not know of them. Rewrites the table, which makes 0005 and 0006 hold for all rows.
DROP INDEX IF EXISTS public.idx_nodes_text_hash;
DROP INDEX IF EXISTS public.idx_nodes_chunk_model;

ALTER TABLE public.nodes
    ADD COLUMN text_hash text GENERATED ALWAYS AS (props ->> 'text_hash') STORED,
    ADD COLUMN embedding_model text GENERATED ALWAYS AS (props ->> 'embedding_model') STORED,
    ADD COLUMN external_id text COLLATE "C" GENERATED ALWAYS AS (props ->> 'external_id') STORED;

-- A vector computed once for a text serves every later chunk of the tenant with that text.
CREATE INDEX idx_nodes_chunk_text ON public.nodes (tenant_id, text_hash) INCLUDE (embedding_model)
    WHERE text_hash IS NOT NULL;

-- The unique index over the property stays: others may name it as what their inserts conflict with.
CREATE INDEX idx_nodes_external_id ON public.nodes (tenant_id, external_id) WHERE external_id IS NOT NULL;
