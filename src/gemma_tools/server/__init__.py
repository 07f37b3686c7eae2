"""An OpenAI-compatible HTTP server in front of any backend (extra `server`).

The answers come from `gemma_tools.openai_api`, as in process. This package adds what a socket needs: settings, access checks,
limits, and a log.
"""
