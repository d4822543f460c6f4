"""Compare models and their results with each other and with the paper."""
