"""What several test files share: requests, scripted models, real servers, and readers of grammars and vectors."""
