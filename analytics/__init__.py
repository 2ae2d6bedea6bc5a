"""Analytics of the records: a consumer writes them from the hub to a table of Parquet files, and queries read that."""
