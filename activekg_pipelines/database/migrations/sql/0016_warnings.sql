-- Kinds of the warnings of the object's text, which is stored with their sentences, each
-- once and in order. Filled as objects are extracted by a version that knows of them.
ALTER TABLE connectors.objects ADD COLUMN warnings text[] NOT NULL DEFAULT '{}';

-- Of nothing but objects with warnings: by key for lists, and counted without their rows.
CREATE INDEX objects_warned ON connectors.objects (connector_id, key) INCLUDE (warnings)
    WHERE warnings <> '{}';
