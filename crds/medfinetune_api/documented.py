"""The words of an enumeration with the text under each, for the reference: Python keeps no docstring of a member, its source does."""

from __future__ import annotations

import ast
import inspect
import itertools
from enum import StrEnum


def documented(enum: type[StrEnum]) -> dict[str, str]:
    """Each value with the string that stands under it, in the source's order. Raises KeyError for a member without one: a word nobody can look up."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(enum)).body if isinstance(node, ast.ClassDef))
    texts = {
        assignment.targets[0].id: text.value.value
        for assignment, text in itertools.pairwise(body)
        if isinstance(assignment, ast.Assign) and isinstance(assignment.targets[0], ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
    return {member.value: texts[member.name] for member in enum}
