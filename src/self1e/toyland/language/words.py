"""The words for what is in a scene: nouns, groups, attributes and parts. Tables only."""

from __future__ import annotations

#: Synonyms of each kind, (singular, plural). The first is the plain one, used in answers.
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "house": (("house", "houses"), ("home", "homes"), ("building", "buildings")),
    "tree": (("tree", "trees"),),
    "car": (("car", "cars"), ("automobile", "automobiles")),
    "bus": (("bus", "buses"),),
    "truck": (("truck", "trucks"), ("lorry", "lorries")),
    "boat": (("boat", "boats"), ("sailboat", "sailboats"), ("ship", "ships")),
    "person": (("person", "people"), ("human", "humans"), ("guy", "guys")),
    "dog": (("dog", "dogs"), ("puppy", "puppies")),
    "cat": (("cat", "cats"), ("kitty", "kitties")),
    "cow": (("cow", "cows"),),
    "sheep": (("sheep", "sheep"),),
    "bird": (("bird", "birds"),),
    "duck": (("duck", "ducks"),),
    "lamp": (("lamp", "lamps"), ("street lamp", "street lamps"), ("lantern", "lanterns")),
    "ball": (("ball", "balls"),),
    "apple": (("apple", "apples"),),
    "umbrella": (("umbrella", "umbrellas"), ("parasol", "parasols")),
    "bench": (("bench", "benches"),),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "mushroom": (("mushroom", "mushrooms"),),
    "balloon": (("balloon", "balloons"), ("hot air balloon", "hot air balloons")),
    "kite": (("kite", "kites"),),
    "sun": (("sun", "suns"),),
    "moon": (("moon", "moons"),),
    "cloud": (("cloud", "clouds"),),
    "fence": (("fence", "fences"),),
    "tent": (("tent", "tents"),),
    "snowman": (("snowman", "snowmen"),),
}

STUFF_NOUNS: dict[str, tuple[str, ...]] = {
    "sky": ("sky",),
    "grass": ("grass", "lawn", "meadow"),
    "sand": ("sand", "beach"),
    "snow": ("snow",),
    "road": ("road", "street"),
    "water": ("water", "lake"),
    "hills": ("hills",),
    "mountains": ("mountains",),
}

#: Words for several kinds at once: (kinds, kinds about which people would argue, (singular, plural) synonyms).
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "animal": (
        ("dog", "cat", "cow", "sheep", "bird", "duck"),
        (),
        (("animal", "animals"), ("creature", "creatures")),
    ),
    "vehicle": (("car", "bus", "truck", "boat"), ("balloon",), (("vehicle", "vehicles"),)),
    "plant": (("tree", "flower"), ("mushroom", "apple"), (("plant", "plants"),)),
    "pet": (("dog", "cat"), ("bird", "duck"), (("pet", "pets"),)),
}

#: A kind that may also go by another's name, so that "the bird" means nothing certain when a duck is about.
ALSO: dict[str, tuple[str, ...]] = {"bird": ("duck",)}

#: Kinds whose one colour is a habit of nature, of no use to tell them apart or to ask about.
COLOURLESS = ("sun", "moon", "cloud", "snowman")

#: Shades next to each other, which "there is no ... here" must not hinge on.
NEAR_COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("orange", "pink", "brown"),
    "orange": ("red", "yellow", "brown"),
    "yellow": ("orange",),
    "green": (),
    "blue": ("purple",),
    "purple": ("blue", "pink"),
    "pink": ("red", "purple"),
    "brown": ("orange", "red", "black"),
    "white": ("grey",),
    "black": ("grey", "brown"),
    "grey": ("white", "black"),
}

#: Synonyms of adjectives; a word that is missing stands for itself.
ADJECTIVES: dict[str, tuple[str, ...]] = {
    "grey": ("grey", "gray"),
    "small": ("small", "little"),
    "large": ("large", "big"),
    "checked": ("checked", "checkered"),
    "spotted": ("spotted", "dotted"),
}

SUPERLATIVES: dict[str, tuple[str, ...]] = {
    "largest": ("largest", "biggest"),
    "smallest": ("smallest",),
    "tallest": ("tallest",),
}

#: Poses that can be said of a thing, and could be missed in it.
POSES: dict[str, tuple[str, ...]] = {
    "person": ("running", "standing", "sitting", "waving"),
    "dog": ("running", "standing", "sitting"),
    "cat": ("running", "standing", "sitting"),
    "bird": ("flying", "standing"),
    "duck": ("swimming", "standing"),
}

#: Poses that also fit another's description: who waves may well be standing.
NEAR_POSES: dict[str, tuple[str, ...]] = {"standing": ("waving",)}

#: (singular, plural) of each part; a pair of equal words is always plural or uncountable.
PART_NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "roof": (("roof", "roofs"),),
    "wall": (("wall", "walls"),),
    "door": (("door", "doors"),),
    "window": (("window", "windows"),),
    "chimney": (("chimney", "chimneys"),),
    "crown": (("crown", "crowns"), ("leaves", "leaves")),
    "trunk": (("trunk", "trunks"),),
    "body": (("body", "bodies"),),
    "wheel": (("wheel", "wheels"),),
    "cab": (("cab", "cabs"),),
    "cargo": (("cargo", "cargo"), ("load", "loads")),
    "hull": (("hull", "hulls"),),
    "sail": (("sail", "sails"),),
    "head": (("head", "heads"),),
    "hair": (("hair", "hair"),),
    "shirt": (("shirt", "shirts"),),
    "trousers": (("trousers", "trousers"), ("pants", "pants")),
    "hat": (("hat", "hats"),),
    "legs": (("legs", "legs"),),
    "tail": (("tail", "tails"),),
    "wing": (("wing", "wings"),),
    "post": (("post", "posts"), ("pole", "poles")),
    "light": (("light", "lights"),),
    "canopy": (("canopy", "canopies"),),
    "handle": (("handle", "handles"),),
    "seat": (("seat", "seats"),),
    "back": (("backrest", "backrests"),),
    "petals": (("petals", "petals"),),
    "stem": (("stem", "stems"),),
    "cap": (("cap", "caps"),),
    "envelope": (("envelope", "envelopes"),),
    "basket": (("basket", "baskets"),),
    "scarf": (("scarf", "scarves"),),
}

UNCOUNTABLE_PARTS = ("hair", "trousers", "petals")
#: Parts whose bare name may also mean what is no part here (the head of a bird, the tail of a cow).
VAGUE_PARTS = ("body", "back", "light", "head", "legs", "tail", "cap", "crown", "seat", "post")

#: Parts by which the whole is told from others of its kind ("the house with the red roof").
TELLING_PARTS: dict[str, tuple[str, ...]] = {
    "house": ("roof", "door", "wall"),
    "boat": ("sail", "hull"),
    "person": ("hat", "shirt", "trousers", "hair"),
    "truck": ("cab", "cargo"),
    "mushroom": ("cap",),
    "flower": ("petals",),
    "snowman": ("hat", "scarf"),
    "balloon": ("envelope", "basket"),
}
#: Parts that one of a kind may have and another lack ("the person with a hat").
OPTIONAL_PARTS: dict[str, tuple[str, ...]] = {"house": ("chimney",), "person": ("hat",)}

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ORDINALS = ("first", "second", "third", "fourth", "fifth")

#: How one says that something is on or in a kind of stuff.
ON_STUFF: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass",),
    "sand": ("on the sand", "on the beach"),
    "snow": ("in the snow", "on the snow"),
    "road": ("on the road", "on the street"),
    "water": ("in the water", "on the water"),
    "hills": ("on the hills",),
    "sky": ("in the sky", "up in the sky"),
}
#: Ground that looks alike, so that the border between is anyone's guess.
NEAR_GROUND: dict[str, tuple[str, ...]] = {"grass": ("hills",), "hills": ("grass",)}
