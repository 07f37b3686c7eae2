"""The notations of Gemma 3, written and read: Python and JSON literals."""
