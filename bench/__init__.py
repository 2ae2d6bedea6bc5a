"""The benchmark: what the proxy costs and delays, beside nginx and beside what one would pick instead."""
