-- Codes of what the connector's store does otherwise than its protocol says.
ALTER TABLE connectors.connectors ADD COLUMN store_notes text[] NOT NULL DEFAULT '{}';
