"""What Alice wrote and what others did in the files of `benchmarks.exports`: sentences of nobody, written for it."""

import random
from collections.abc import Sequence

OWN = (
    "We walked along the river until the lamps came on, and nobody said a word about the letter.",
    "My grandmother kept her recipes in a tin box; the one for plum cake is stained beyond reading.",
    "If the train is late again tomorrow I shall take the bicycle, rain or no rain.",
    "ok",
    "Größer als das Haus war nur die Stille danach, so erinnere ich mich an jenen Sommer.",
    "The committee met for 3 hours and decided, as committees do, to meet again.",
    "haha no way 😂😂",
    "Il pleut depuis lundi et le chat refuse de sortir, même pour le poisson.",
    "I put it at https://example.org/notes/2024?draft=1#end, have a look when you can.",
    "Note to self: buy onions, call the dentist, answer Ruth.",
    "See you at 9:30 then, platform 4: the one behind the clock.",
    "Mañana te cuento; hoy no doy más.",
    "Prices went from 12.50 to 14.80 in a year - that's 18 %!",
    'She asked "why now?" and I had no answer (I still don\'t).',
    "thx, will do :)",
    "The roof leaks in two places, so there are two buckets & a certain music.",
    "Never mind what the forecast says: pack the wool socks.",
    "Yesterday the boiler broke, the cat was sick and the bakery had sold its last loaf by nine.",
)
OTHERS = (
    "Could somebody bring the ladder back before Thursday, please?",
    "Bin gleich da, stehe noch im Stau auf der Brücke.",
    "lol",
    "The meeting has moved to room 212, second floor, left of the stairs.",
    "Honestly I preferred the first version: shorter, louder, ruder.",
    "On m'a dit que le musée ferme à 17 h, dépêchez-vous.",
    "k",
    "Did you see what the neighbours put on their balcony??? 🤣",
    "Attached are minutes, figures and the seating plan - comments by Friday.",
    "Ya te dije: en la cocina, detrás del azúcar.",
    "My number changed, write to carol@example.com from now on.",
    "It cost 1,299.00 and broke within a week, so much for quality.",
    "Dad: call me back when you have read this.",
    "https://example.net/forum/thread/998 explains it better than I can.",
    "The ferry leaves at 06:15; whoever oversleeps swims.",
)


def messages(sentences: Sequence[str], count: int, seed: int) -> list[str]:
    """Messages of a sentence to three, the same each time."""
    choice = random.Random(seed)
    return [" ".join(choice.choices(sentences, k=choice.choice((1, 1, 1, 2, 3)))) for _ in range(count)]


def latin(texts: Sequence[str]) -> list[str]:
    """The texts without what the fonts that every PDF reader has cannot print."""
    return [" ".join(text.encode("latin-1", "ignore").decode("latin-1").split()) for text in texts]
