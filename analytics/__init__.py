"""The records in use: from the hub into a table of Parquet files, and questions to that table."""
