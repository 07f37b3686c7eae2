"""What `gemma_tools.formats.grammar` is made of: schemas read into an intermediate representation, and two printers of it."""
