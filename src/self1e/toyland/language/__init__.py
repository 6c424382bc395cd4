"""What can be asked about a toyland scene, and the right answers.

`queries` lists everything, `sample_queries` draws some by kind, `conversation` turns one into training or evaluation
text with its mask. The grammar lives in tables (`words`, `functions`); the modules beside them say which phrases fit:

    view        tests in three values (yes, no, arguable) and how things lie to each other
    naming      class, attribute, size, ordinal, stuff
    places      spatial relations and regions of the picture
    pieces      parts and plurals
    reasoning   questions that never name their target
    absent      references to what is not there
    answering   questions answered in words
    asking      collects them; chat dresses them in prompts
"""

from self1e.toyland.language.asking import queries, sample_queries
from self1e.toyland.language.chat import conversation, query_mask
from self1e.toyland.language.query import KINDS, SEGMENTING, TEXTUAL, SceneQuery

__all__ = ["KINDS", "SEGMENTING", "TEXTUAL", "SceneQuery", "conversation", "queries", "query_mask", "sample_queries"]
