"""The benchmark: the proxy's CPU cost and added latency, compared with nginx and with LiteLLM."""
