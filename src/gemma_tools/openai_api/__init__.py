"""OpenAI's HTTP API: one module for each endpoint, and what they share. `gemma_tools.routes` connects them."""
