-- Of the attempts at an object, those that its parser's process did not survive. It counts only while attempts is above 0:
-- statements that give fresh attempts, those of processes of the version before included, do not know of it.
ALTER TABLE connectors.objects ADD COLUMN parser_failures int NOT NULL DEFAULT 0;
