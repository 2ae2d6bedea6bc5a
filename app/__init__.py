"""The proxy: what happens to one call between the client and Azure OpenAI."""
