"""Adapters for frameworks that an OpenAI client is not enough for; docs/frameworks has a page for each framework."""
