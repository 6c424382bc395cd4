"""Language made from the labels of photographs: questions, and answers by masks or in words.

PhotoScene -> `View` (`view`) -> drafts by kind (`naming`, `places`, `absent`, ...) -> a sample (`asking`)
    -> `Conversation` (`chat`)
"""

from self1e.photos.language.asking import queries, sample_queries
from self1e.photos.language.chat import conversation, query_mask
from self1e.photos.language.query import KINDS, SEGMENTING, TEXTUAL, PhotoQuery
from self1e.photos.language.view import View

__all__ = [
    "KINDS",
    "SEGMENTING",
    "TEXTUAL",
    "PhotoQuery",
    "View",
    "conversation",
    "queries",
    "query_mask",
    "sample_queries",
]
