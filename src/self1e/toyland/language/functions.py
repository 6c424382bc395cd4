"""What things are for: the table behind the reasoning questions.

A sentence never names its target. It is asked only if nothing in the scene is `doubtful`, and means all that fit.
In `because`, {the} is the target with its article, {is} and {has} agree with it; modal verbs need no agreement.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """One use or trait, the kinds that have it, and how to ask for it.

    `pose` and `having` narrow the kinds to those in a pose or with a part; `part` makes the target that part of them;
    `stuff` says that the kinds are stuff. A `wish` completes "I want to ..." and can be narrowed by colour or place.
    """

    fits: tuple[str, ...]
    sentences: tuple[str, ...]
    because: str
    doubtful: tuple[str, ...] = ()
    pose: str = ""
    having: str = ""
    part: str = ""
    stuff: bool = False
    wish: str = ""


def _one(kind: str, *sentences: str, because: str, doubtful: str = "", wish: str = "") -> Function:
    return Function((kind,), sentences, because, tuple(doubtful.split()), wish=wish)


def _some(kinds: str, *sentences: str, because: str, doubtful: str = "") -> Function:
    return Function(tuple(kinds.split()), sentences, because, tuple(doubtful.split()))


def _stuff(kind: str, *sentences: str, because: str, doubtful: str = "") -> Function:
    return Function((kind,), sentences, because, tuple(doubtful.split()), stuff=True)


def _part(kinds: str, part: str, *sentences: str, because: str, doubtful: str = "") -> Function:
    return Function(tuple(kinds.split()), sentences, because, tuple(doubtful.split()), part=part)


# fmt: off
FUNCTIONS: tuple[Function, ...] = (
    # Buildings and shelter
    _one("house", "Where does the family live?", "Where do people cook dinner in a kitchen?", "What has rooms inside?",
         "Where should a letter be brought?",
         because="{the} {is} where people live.", doubtful="tent"),
    _some("house tent", "What was made to sleep in?", "Where could I spend the night?", "Where can I find shelter?",
          because="{the} can give shelter for the night.", doubtful="umbrella bus car truck"),
    _one("tent", "Where do campers sleep?", "Which shelter can be packed into a bag?",
         "Which home has no walls of stone?", "What would I take along to sleep in the woods?",
         because="{the} can be put up anywhere to sleep in.", wish="sleep in the woods"),
    _one("umbrella", "What could I hold over my head when it rains?", "What can be opened to make shade?",
         "What can be folded when the rain is over?", "What keeps me dry and has a handle?",
         because="{the} can keep off the rain and the sun.", wish="sit in the shade"),
    _one("bench", "Where can I rest my legs?", "Where could two friends sit down and talk?", "What was made to sit on?",
         "I am tired of walking. Where can I sit?",
         because="{the} {is} made to sit on.", wish="sit down for a while"),
    _one("fence", "What keeps the animals from running away?", "What marks the edge of a garden?",
         "What must I climb over to get into the garden?",
         because="{the} can keep animals in and strangers out."),
    _one("lamp", "What needs electric power to shine?", "What lights up the street when it is dark?",
         "What would be switched on in the evening?", "Which light was made by people?",
         because="{the} can give light at night.", doubtful="moon house"),
    _some("lamp moon", "What gives light at night?", "What can shine after dark?",
          because="{the} can shine at night.", doubtful="sun house car bus truck"),
    # Vehicles
    _one("car", "What would a small family drive to the shop?", "What is parked in a garage?",
         "Which vehicle has room for four people?",
         because="{the} can carry a few people on the road.", doubtful="bus truck", wish="drive a friend home"),
    _one("bus", "What carries many passengers to town?", "Where would a school class ride together?",
         "Which vehicle has room for twenty people?",
         because="{the} can carry many passengers.", wish="ride to town with many people"),
    _one("truck", "What is used to bring heavy goods?", "What could move all my furniture?",
         "Which vehicle has room for a big load?",
         because="{the} can carry a heavy load.", wish="move my furniture"),
    _one("boat", "What could carry me across the lake?", "Which vehicle needs no road?", "What would a sailor steer?",
         "What is moved over the water by the wind?",
         because="{the} can float on the water.", doubtful="balloon", wish="cross the lake"),
    _some("car bus truck", "What has an engine and needs a road?", "What could I drive on the road?",
          "What must stop at a red light?",
          because="{the} {has} wheels and an engine."),
    _some("car bus truck boat", "What could I travel in?", "What was built to carry people or goods?",
          because="{the} can carry people or goods.", doubtful="balloon"),
    # People
    _some("person", "Who can talk and read?", "Who could take a photo?", "Who goes to school or to work?",
          because="{the} {is} human."),
    Function(("person",), ("Who is in a hurry?", "Who is about to be late?", "Who will be out of breath soon?",
                           "Who is late for the boat?"),
             "{the} {is} running.", pose="running"),
    Function(("person",), ("Who is greeting us?", "Who is saying hello?", "Who wants to be seen?"),
             "{the} {is} waving a hand.", pose="waving"),
    Function(("person",), ("Who is having a rest?", "Who has tired legs?", "Who is not on their feet?"),
             "{the} {is} sitting down.", pose="sitting"),
    Function(("person",), ("Whose head is kept warm?", "Who has covered their head?", "Whose hair is under something?"),
             "{the} {has} a hat on.", ("snowman",), having="hat"),
    Function(("dog", "cat"), ("Which pet is having a rest?", "Which pet is not standing?"),
             "{the} {is} sitting down.", pose="sitting"),
    Function(("dog",), ("Which animal is chasing something?", "Which pet is in a hurry?"),
             "{the} {is} running.", pose="running"),
    # Animals
    _one("dog", "Which animal barks?", "What would guard the house?", "What loves to bring back a stick?",
         "Which animal pulls at a leash?",
         because="{the} can bark and guard."),
    _one("cat", "Which animal hunts mice?", "What says meow?", "Which pet purrs and climbs?",
         because="{the} can purr and catch mice."),
    _one("cow", "Which animal gives milk?", "What says moo?", "Which farm animal has horns?",
         because="{the} can give milk."),
    _one("sheep", "Which animal gives wool?", "What says baa?", "Where does a warm sweater come from?",
         because="{the} can give wool."),
    _one("duck", "Which animal quacks?", "Which animal likes to float on the water?",
         "Which bird has flat feet to swim?",
         because="{the} can swim and quack."),
    _one("bird", "What sings in the morning?", "What could fly away when I clap?", "What hunts for worms and sings?",
         because="{the} can sing and fly.", doubtful="duck"),
    _some("bird duck", "Which animals have feathers?", "What lays eggs?", "Which animals have two legs and wings?",
          because="{the} {has} feathers and can lay eggs."),
    _some("cow sheep", "What eats grass all day?", "Which animals would a farmer keep in a field?",
          because="{the} can live on grass.", doubtful="duck"),
    _some("dog cat", "Which animals could live with me at home?", "What could sleep by the fire in my room?",
          because="{the} {is} kept at home.", doubtful="bird duck"),
    _some("dog cat cow sheep", "Which animals cannot fly?", "What has four legs and is alive?",
          because="{the} {has} four legs."),
    _some("person dog cat cow sheep bird duck", "What is alive and can move?", "What breathes?",
          because="{the} {is} alive."),
    # Toys and things in the air
    _one("ball", "What can be kicked into a goal?", "What toy bounces?", "What could we throw and catch?",
         "What is round and rolls away?",
         because="{the} can be kicked and thrown.", wish="play football"),
    _one("kite", "What flies on a string?", "What toy needs wind?", "What might a child let fly on a windy day?",
         because="{the} can fly in the wind.", wish="play in the wind"),
    _some("ball kite", "What could a child play with?", "What is a toy?",
          because="{the} {is} made to play with.", doubtful="balloon snowman"),
    _one("balloon", "What lifts people into the air?", "What flies with hot air?", "What carries people in a basket?",
         because="{the} can rise with hot air.", wish="see the land from high above"),
    _some("balloon kite", "What flies without wings?", "What was made by people and flies?",
          because="{the} can fly but {has} no wings."),
    _some("bird balloon kite", "What can leave the ground?", "What can fly?",
          because="{the} can fly.", doubtful="duck"),
    # Nature
    _one("tree", "Where would a bird build its nest?", "What gives us wood?", "What could a child climb up?",
         "What grows for a hundred years?",
         because="{the} can give wood and shade."),
    _one("flower", "What would a bee visit?", "What could I put in a vase?",
         "What might I pick for my mother?",
         because="{the} can bloom and smell sweet.", wish="decorate my table"),
    _one("apple", "What can be baked into a pie?", "What is sweet and full of vitamins?",
         "What belongs in a fruit basket?",
         because="{the} {is} fruit.", wish="eat something fresh"),
    _one("apple", "What can I eat here?", "I am hungry. What could I take?",
         because="{the} can be eaten.", doubtful="mushroom"),
    _one("mushroom", "What could be poisonous to eat?", "What grows in the forest after rain?",
         "What has a cap but no head?",
         because="{the} can be poisonous."),
    _some("tree flower mushroom", "What grows out of the ground?", "What is alive but cannot walk?",
          because="{the} can grow but not walk."),
    _one("snowman", "Who would melt in the sun?", "Who never feels cold?", "Who was built by children in winter?",
         "Who has a carrot for a nose?",
         because="{the} {is} made of snow."),
    _one("sun", "What makes the day warm?", "What should I never look at?", "What gives light to the whole land?",
         because="{the} can warm and light the day."),
    _one("moon", "What shines only at night?", "Where did people walk in space suits?",
         "What changes its shape every week?",
         because="{the} can be seen at night.", doubtful="lamp"),
    _one("cloud", "Where does rain come from?", "What might hide the sun?", "What is soft and drifts through the air?",
         because="{the} can bring rain."),
    # Stuff
    _stuff("water", "Where can I swim?", "Where do fish live?", "Where would I get wet?",
           because="{the} {is} deep enough to swim."),
    _stuff("road", "Where do cars drive?", "What was built for traffic?", "What should children cross with care?",
           because="{the} {is} made for traffic."),
    _stuff("sand", "Where could I build a castle and dig a hole?", "Where would I lie down to get a tan?",
           "What gets into my shoes at the sea?",
           because="{the} {is} soft and dry."),
    _stuff("grass", "What must be cut in summer?", "What is food for cows?", "Where could we have a picnic?",
           because="{the} can feed cows all summer.", doubtful="sand"),
    _stuff("snow", "What covers the ground in winter?", "What will be gone in spring?",
           "What can I make a snowball from?",
           because="{the} {is} cold and white."),
    _stuff("sky", "Where do clouds drift?", "Where would a plane fly?", "What is above all of us?",
           because="{the} {is} above us."),
    _stuff("mountains", "Where could I go climbing?", "What has the highest peaks?", "Where do eagles nest?",
           because="{the} {is} high and made of rock."),
    _stuff("hills", "What rises gently behind the land?", "Where could I walk up for a view?",
           because="{the} can give a wide view.", doubtful="mountains"),
    # Parts
    _part("house", "roof", "What keeps the rain out of the house?", "Where would a cat sit on top of the house?",
          because="{the} can keep out the rain."),
    _part("house", "chimney", "Where does the smoke come out?", "How would Santa get into the house?",
          because="{the} can let out the smoke."),
    _part("house", "door", "Where would I knock to be let in?", "Where do people enter the house?",
          because="{the} can be opened to go in.", doubtful="tent bus"),
    _part("house", "window", "Where could someone in the house look out?", "What lets daylight into the house?",
          because="{the} {is} made of glass."),
    _part("car bus truck", "wheel", "What turns when a vehicle moves?", "What could get flat on the road?",
          because="{the} can turn and roll."),
    _part("boat", "sail", "What moves the boat without an engine?", "What must be taken down in a storm?",
          because="{the} can catch the wind."),
    _part("boat", "hull", "Which part of the boat is in the water?", "Where would a hole sink the boat?",
          because="{the} can keep out the water."),
    _part("balloon", "basket", "Where do the passengers of the balloon stand?", because="{the} can carry people."),
    _part("person snowman", "hat", "What is worn on a head?", "What would the wind blow off a head?",
          because="{the} {is} worn on a head."),
    _part("snowman", "scarf", "What is around the neck of the snowman?", because="{the} can keep a neck warm."),
    _part("truck", "cab", "Where does the driver of the truck sit?", because="{the} {is} where the driver sits."),
    _part("truck", "cargo", "Where in the truck would a heavy load go?", because="{the} can hold the load."),
    _part("dog", "tail", "What does a happy dog move from side to side?",
          because="{the} can show that a dog is happy."),
    _part("bird", "wing", "What does a bird move to fly?", because="{the} can lift a bird into the air."),
    _part("flower", "petals", "Which part of a flower has the bright colour?",
          because="{the} {is} there to please bees."),
    _part("tree", "trunk", "Where would someone saw down a tree?", because="{the} can hold up a tree."),
    _part("tree", "crown", "Which part of a tree falls down in autumn?", because="{the} {is} made of leaves."),
    _part("umbrella", "handle", "Where would I hold an umbrella?", because="{the} {is} made to be held."),
)
# fmt: on

#: "{wish}" with nothing more, with a colour, and with a place.
WISHES = ("I want to {wish}. What do I need?", "I would like to {wish}.", "What could I use to {wish}?")
WISHES_COLOUR = (
    "I want to {wish}, and I like {colour}.",
    "I would like to {wish}. My favourite colour is {colour}.",
    "What could I use to {wish} if it must be {colour}?",
)
WISHES_PLACE = (
    "I want to {wish}. Which one is on the {side}?",
    "I stand on the {side} and would like to {wish}.",
)
