"""Grammars of valid calls and answers: a tree of rules made from schemas, and its printers.

`build` makes the tree, `values` reads schemas into it, `notation` says how a format writes values, `gbnf` and `lark` print it.
"""

from gemma_tools.grammar.build import ANSWER_BOUNDS, Draft, Grammar, answer_grammar

__all__ = ["ANSWER_BOUNDS", "Draft", "Grammar", "answer_grammar"]
