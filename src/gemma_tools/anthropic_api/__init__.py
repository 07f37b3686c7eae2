"""Anthropic's Messages API, answered by the models of OpenAI's API: requests and answers are translated."""
