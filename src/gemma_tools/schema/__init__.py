"""The only code that reads JSON Schema: references, types, the declared form, and typing of values."""
