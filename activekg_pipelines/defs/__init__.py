"""What Dagster sees, and nothing more: each function here calls the pipeline and
reports.
"""
