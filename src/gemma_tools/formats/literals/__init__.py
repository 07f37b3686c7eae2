"""The notations of Gemma 3, their writers and readers: Python and JSON literals."""
