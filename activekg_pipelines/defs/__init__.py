"""What Dagster sees. Each function here calls the pipeline, and reports what it did."""
