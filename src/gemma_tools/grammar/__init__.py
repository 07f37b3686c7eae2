"""Grammars of valid calls and answers: a tree of rules made from schemas, and its printers.

`build` makes the tree, `values` reads schemas, `notation` is a format's way to write values, `gbnf` and `lark` print.
"""

from gemma_tools.grammar.build import ANSWER_BOUNDS, Draft, Grammar, answer_grammar

__all__ = ["ANSWER_BOUNDS", "Draft", "Grammar", "answer_grammar"]
