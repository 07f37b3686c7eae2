"""An OpenAI-compatible HTTP server in front of any backend (extra `server`).

The answers come from `gemma_tools.openai_api`, as they do in process; this package adds what a socket needs: settings, a
guard at the door, limits, and a log.
"""
