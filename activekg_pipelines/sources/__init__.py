"""Sources of documents: one contract, and a folder for each provider."""
