"""OpenAI's HTTP API: one module for each thing that it answers, and what they share. `gemma_tools.routes` joins them."""
