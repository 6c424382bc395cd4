"""What words say about sides: which of them can follow a mirrored picture, and which a piece of a picture.

Words follow a mirror where each "left" and "right" stands in a frame that can only mean a place ("on the left", "left
guy", "rightmost"). Elsewhere left may be a verb, and right may mean correct ("the cookies left in the jar", "the right
tool"); and what is said of writing, numbers and clocks is not true of their mirror image. Of other languages than
English it is known only which words speak of sides in some of them. What is in doubt does not follow: the picture then
stays as it is, which costs nothing.
"""

from __future__ import annotations

import re
from functools import cache

from self1e.conversation import SEG
from self1e.processing.classes import class_names
from self1e.processing.prompts import PHRASE_QUESTIONS, SHORT_ANSWER_PROMPT

_SIDES = {"left": "right", "leftmost": "rightmost", "lefthand": "righthand", "leftward": "rightward"}
_SIDES |= {"leftside": "rightside", "leftwards": "rightwards", "l": "r"}
_MIRRORED = _SIDES | {right: left for left, right in _SIDES.items()}
_SIDE = re.compile(rf"\b({'|'.join(sorted(_MIRRORED, key=len, reverse=True))})\b", re.IGNORECASE)

#: Sides by another name, writing, and what shows or counts something: a mirror makes another of it.
_NOT_MIRRORED = re.compile(
    r"\b(?:reads?|reading|says?|said|written|writing|words?|letters?|texts?|spell(?:s|ed|ing)?|spelt|labell?ed|titled"
    r"|numbers?|numbered|digits?|logos?|brands?|time|o'?clock|hours?|clocks?|watch(?:es)?|dials?|gauges?"
    r"|clockwise|counterclockwise|anticlockwise|(?:(?:north|south)[- ]?)?(?:east|west)(?:ern|ward|wards|most)?"
    r"|port|starboard|rights|\w+-handed|left(?:y|ies|er|ers|est)|right(?:y|ies)|southpaws?|[lr]\.?h\.?s"
    r"|(?:top|bottom|upper|lower)(?:left|right)"
    r"|links|linke[mnrs]?|rechts?|rechte[mnrs]?|gauche|droite|izquierd[ao]s?|derech[ao]s?|esquerd[ao]s?|direit[ao]s?"
    r"|sinistr[aeio]|destr[aeio]"
    r"|(?:license|licence|number) plates?|flags?|maps?)\b"
    r"|\b[b-gj-lnp-sz]-shaped\b|[\"“”]",
    re.IGNORECASE,
)

#: Figures but for ranks ("2nd from left"), capital letters that have another mirror image, and words in capitals.
_FIGURES = re.compile(r"\d+(?!\d|(?:st|nd|rd|th)\b)|\b[B-GJKNPQSZ]\b|\b(?!(?:TV|TVs|SUV|PC|LEFT|RIGHT)\b)[A-Z]{2,}\b")

#: Words that are true of a whole picture, and may not be of a piece of it.
_OF_THE_WHOLE = re.compile(
    r"\b(?:left|right|leftmost|rightmost|top|bottom|upper|lower|middle|mid|cent(?:er|re|ral)|corners?|edges?|sides?"
    r"|ends?|borders?|between|among|whole|entire|complete|full|half|halves|pairs?|couples?|groups?|rows?|rest|far"
    r"|first|second|third|fourth|fifth|sixth|last|next|\d+(?:st|nd|rd|th)|others?|only|alone|single|both|all|every|each"
    r"|\w+est|most|more|less|least|than|nearer|further|closer|front|back|behind|rear|background|foreground"
    r"|two|three|four|five|six|seven|eight|nine|ten|\d+|how many|several|l|r)\b",
    re.IGNORECASE,
)

_S = r"(?P<side>left|right)"
_L_OR_R = r"(?P<side>left|right|l|r)"
_HIS = r"(?:the|its|his|her|your|my|our|their|a)"
_FAR = (
    r"(?:far|extreme|very|immediate|top|bottom|upper|lower|front|back|rear|middle|mid|cent(?:er|re)|near|close|closest"
    r"|first|second|third|fourth|fifth|\d(?:st|nd|rd|th))"
)
_PART = (
    r"(?:-?hand|-?most|sides?(?! (?:up|down)\b)|half|halves|corners?|edges?|ends?|borders?|thirds?|quarters?"
    r"|(?:parts?|portion|section) of)\b"
)
#: What may follow a side that is no adjective.
_ALONE = (
    r"(?=$|\s*[,.;:?!)/]|\s+(?:of(?! way\b)|in|and|or|but|with|without|is|are|was|were|who|that|which|wearing|holding"
    r"|sitting|standing|facing|looking|above|below|under|near|next|beside|behind|from|among|on|if|as|has|have|does|do|can)\b)"
)
#: What may follow a side that ends a phrase; "walking right behind the cart" is walking close behind it.
_ENDS = r"(?=$|\s*[,.;:?!)/]|\s+(?:and|or|but|with|without|is|are|was|were|who|that|which|wearing|holding)\b)"
#: "the right knife to cut bread" is the fit one.
_NO_PURPOSE = r"(?!.*(?<!next )(?<!close )(?<!closest )\b(?:to|for)\b(?! (?:the |its |his |her )?(?:left|right)\b))"

#: Where "banana left" may be what nobody ate.
_SENTENCE = re.compile(
    r"[.?!]|\b(?:is|are|was|were|be|been|has|have|had|that|who|which|just|he|she|they|it|any|some|more|much|many|no|one"
    r"|last|only|remaining|what|how|all)\b",
    re.IGNORECASE,
)

_ADJECTIVES = (
    r"(?:most|red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ea]y|big|small|large|little|tall|short|old"
    r"|young|dark|light|bright|striped|wooden|metal|empty|full|open|closed|standing|sitting)"
)
_SEEN = (
    r"guy|man|woman|lady|girl|boy|kid|child|baby|people|men|women|children|dude|player|batter|catcher|umpire|"
    r"skier|surfer|rider|animal|head|face|hand|arm|leg|foot|feet|eye|ear|shoulder|knee|wing|wheel|tire|paw|"
    r"horn|tail|sleeve|pants|glove|sock|hair|shirt|jacket|dress|screen|plane|bike|motorbike|phone|bread|pot|"
    r"square|circle|triangle|bunch|dish|duck|fridge|meter|racket"
)
"""Beside the classes of COCO-Stuff and ADE20K, what sides are said of."""

_RARELY_SEEN = {"food", "path", "stage", "step", "base", "land", "paper", "counter"}
"""Classes before which "right" is rather no side."""


def mirrored(text: str) -> str:
    """Left for right, and right for left.

    >>> mirrored("The left cup, on the right-hand side of the LEFTMOST plate")
    'The right cup, on the left-hand side of the RIGHTMOST plate'
    """

    def other(found: re.Match[str]) -> str:
        word = found[0]
        side = _MIRRORED[word.lower()]
        return side.upper() if word.isupper() and len(word) > 1 else side.capitalize() if word[0].isupper() else side

    return _SIDE.sub(other, text)


def follows_a_mirror(text: str) -> bool:
    """Whether `mirrored` makes words that are true of a picture true of its mirror image.

    >>> [follows_a_mirror(text) for text in ("second from the left", "the right cup", "the right answer", "the clock")]
    [True, True, False, False]
    """
    text = _without_template(text)
    if _NOT_MIRRORED.search(text) or _FIGURES.search(text) or any(c.isalpha() and not c.isascii() for c in text):
        return False
    places = {found.start() for found in _SIDE.finditer(text) if found[0].lower() in ("left", "right", "l", "r")}
    for frame in _frames(_SENTENCE.search(text) is None) if places else ():
        places -= {found.start("side") for found in frame.finditer(text)}
    return not places


def holds_of_a_piece(text: str) -> bool:
    """Whether words that are true of a picture are true of a piece of it that shows what they point at."""
    return _OF_THE_WHOLE.search(text) is None


def _without_template(text: str) -> str:
    """The phrase that a question of the training templates asks for, and what stands before that of VQA sets.

    Other text as it is, but for `[SEG]`.
    """
    text = text.removesuffix(SHORT_ANSWER_PROMPT).rstrip()
    for template in _templates():
        if found := template.fullmatch(text):
            return found["phrase"]
    return text.replace(SEG, "")


@cache
def _templates() -> list[re.Pattern[str]]:
    parts = (map(re.escape, template.split("{phrase}")) for template in PHRASE_QUESTIONS)
    return [re.compile("(?P<phrase>.+)".join(each)) for each in parts]


@cache
def _frames(of_a_phrase: bool) -> list[re.Pattern[str]]:
    """Those in which a side is a place in any text; and in a phrase that does no more than refer to something."""
    frames = [
        rf"\b(?:on|to|at|in|from|towards?|off|along|near|by|facing) (?:{_HIS} )?(?:{_FAR}[ -])?{_L_OR_R}\b{_ALONE}",
        rf"\b(?:look|fac|lean|point|turn|head|mov|walk|go|runn|driv)(?:s|e|es|ing|ed)? {_S}\b{_ENDS}",
        rf"\b{_FAR}[ -]{_L_OR_R}\b(?!-| (?:now|away|over|behind|to|the|his|her|early)\b)",
        rf"\b{_S}[ -]?{_PART}",
        rf"(?<!\bis )(?<!\bare )(?<!'s )(?<!\bwas )(?<!\bwere )(?<!\bhas )(?<!nothing )(?<!much )\b{_S} of (?!way\b)",
        rf"\b{_S} (?:to|and|or) (?:the )?(?:left|right)\b{_ALONE}",
        rf"\b(?:left|right) (?:to|and|or) (?:the )?{_S}\b{_ALONE}",
        rf"\b{_HIS} (?:{_FAR} )?(?P<side>left)\b(?!-| (?:over|out|behind|alone|luggage|to)\b)",
        rf"\b(?P<side>right) (?:{_ADJECTIVES},? )*{_things()}\b{_NO_PURPOSE}",
        r"^(?P<side>left)\b(?!.*[.?!])(?!-| (?:over|behind|alone|out|to|in|on|at|by|for|from|with|the|his|her)\b)",
        rf"(?:^|[,;] ?)(?:the )?{_S}(?=\s*(?:$|[,;.!]))",
    ]
    if of_a_phrase:
        frames.append(rf"\b{_things()} {_S}(?=\s*(?:$|[,;]))")
    return [re.compile(frame, re.IGNORECASE) for frame in frames]


@cache
def _things() -> str:
    """An expression for what can be seen in pictures, in both numbers."""
    classes = {name.partition("-")[0] for name in (*class_names("coco_stuff"), *class_names("ade20k"))}
    return rf"(?:{'|'.join(map(re.escape, sorted(classes - _RARELY_SEEN)))}|{_SEEN})(?:e?s)?"
