"""A simulator of the Azure OpenAI service: `python -m dev.azure_openai`."""
