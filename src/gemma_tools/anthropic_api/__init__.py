"""Anthropic's Messages API, answered by the models that answer OpenAI's: a translation there and back."""
