"""Each response's tokens and units count once, however often it was fetched.

A background response tells its usage to whoever fetches it, and a stored one tells it again. Of all records of one
response, the earliest that reports usage has it; the others have none in the view `Calls`, whose other columns stay.
"""

from typing import Final

COUNTED: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_prompt_tokens",
    "image_prompt_tokens",
    "cached_audio_tokens",
    "cached_image_tokens",
    "reasoning_tokens",
    "audio_completion_tokens",
    "image_completion_tokens",
)


def counted(rows: str) -> str:
    """A query in DuckDB's SQL over the view `rows`, with each response's usage only where it counts."""
    kept = ", ".join(f"CASE WHEN told.id <> rows.id THEN NULL ELSE {name} END AS {name}" for name in COUNTED)
    return (
        f"WITH rows AS (SELECT * FROM {rows}), "  # noqa: S608
        "fetched AS (SELECT DISTINCT response_id FROM rows WHERE operation = 'fetch_response' AND response_id <> ''), "
        "told AS (SELECT response_id, arg_min(id, (timestamp, id)) AS id "
        "FROM rows SEMI JOIN fetched USING (response_id) WHERE usage_source = 'reported' GROUP BY response_id) "
        f"SELECT rows.* REPLACE ({kept}, CASE WHEN told.id <> rows.id THEN '' ELSE units END AS units) "
        "FROM rows LEFT JOIN told ON rows.response_id = told.response_id"
    )
