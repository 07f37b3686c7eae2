"""Adapters for frameworks that need more than an OpenAI client; docs/frameworks has a page for each framework."""
