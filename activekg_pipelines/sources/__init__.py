"""Places with documents: one contract, and a folder for each provider."""
