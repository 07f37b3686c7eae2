"""Models behind the OpenAI chat API: one of Gemma's formats joined to an engine."""
