"""A secret, and patterns to redact it."""

import json

MARK = "planted-secret"

PATTERNS = json.dumps([r"planted-\w+", r"\b\d{4}(?:[ -]?\d{4}){3}\b"])
