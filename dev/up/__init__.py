"""`make run`: the proxy on stand-ins for Azure, with one call shown from end to end."""
