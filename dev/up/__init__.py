"""`make run`: the proxy with stand-ins for Azure, and one call shown end to end."""
