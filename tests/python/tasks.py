"""Tasks with known answers that a small model can partly do, of graded difficulty; made from a seed, by template.

Used to fit the head that judges local answers (`scripts/train-answer-head`) and, with other seeds and other words, to
measure it (`scripts/bench-cascade`): a task of the one is never a task of the other.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid", "Egypt": "Cairo", "Canada": "Ottawa",
    "Kenya": "Nairobi", "Norway": "Oslo", "Peru": "Lima", "Poland": "Warsaw", "Cuba": "Havana", "Greece": "Athens",
    "Portugal": "Lisbon", "Austria": "Vienna", "Ireland": "Dublin", "Hungary": "Budapest", "Chile": "Santiago",
    "Turkey": "Ankara", "Vietnam": "Hanoi", "Ghana": "Accra", "Nepal": "Kathmandu", "Mongolia": "Ulaanbaatar",
    "Kazakhstan": "Astana", "Uruguay": "Montevideo", "Bhutan": "Thimphu", "Slovenia": "Ljubljana", "Eritrea": "Asmara",
    "Sweden": "Stockholm", "Finland": "Helsinki", "Germany": "Berlin", "Russia": "Moscow", "China": "Beijing",
    "Thailand": "Bangkok", "Iceland": "Reykjavik", "Latvia": "Riga", "Morocco": "Rabat", "Australia": "Canberra",
    "Argentina": "Buenos Aires", "Denmark": "Copenhagen", "Belgium": "Brussels",
}
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("happy", "sad"), ("up", "down"), ("early", "late"), ("rich", "poor"),
    ("open", "closed"), ("fast", "slow"), ("light", "dark"), ("strong", "weak"), ("full", "empty"), ("old", "young"),
    ("hard", "soft"), ("wet", "dry"), ("loud", "quiet"), ("ancient", "modern"), ("scarce", "abundant"),
    ("rigid", "flexible"), ("cheap", "expensive"), ("tall", "short"), ("victory", "defeat"), ("love", "hate"),
    ("day", "night"), ("expand", "contract"), ("transparent", "opaque"), ("generous", "stingy"),
]
SPANISH = [
    ("dog", "perro"), ("cat", "gato"), ("house", "casa"), ("water", "agua"), ("book", "libro"), ("red", "rojo"),
    ("friend", "amigo"), ("bread", "pan"), ("sun", "sol"), ("moon", "luna"), ("school", "escuela"), ("milk", "leche"),
    ("tree", "árbol"), ("window", "ventana"), ("spoon", "cuchara"), ("butterfly", "mariposa"), ("key", "llave"),
    ("night", "noche"), ("day", "día"), ("green", "verde"), ("shoe", "zapato"), ("thumb", "pulgar"), ("table", "mesa"),
]
GOOD = [
    "I love this phone, the battery lasts for days.", "What a wonderful evening, the food was superb.",
    "Best purchase I made this year!", "The staff were kind and helped us at once.",
    "Absolutely delightful from start to end.", "It works perfectly and looks great.",
    "The hotel was spotless and the view stunning.", "I laughed all the way through, brilliant film.",
    "Arrived a day early and well packed, thank you!", "My kids adore it.",
    "Not bad at all, better than I had feared.", "I expected little and was pleasantly surprised.",
]
BAD = [
    "The screen broke after one day.", "Terrible service, we waited two hours.", "I want my money back.",
    "The soup was cold and the waiter rude.", "It never worked, not even once.", "A complete waste of time.",
    "The room smelled and the bed was broken.", "The plot made no sense and I fell asleep.",
    "It was delivered late, and the box was crushed.", "I would not wish this blender on my worst enemy.",
    "Hardly the quality that the price promises.", "They promised a refund and then went silent.",
]
NAMES = ["Maria Lopez", "John Carter", "Aiko Tanaka", "Peter Novak", "Fatima Hassan", "Lena Schmidt", "Omar Diallo",
         "Grace Kim", "Ivan Petrov", "Chloe Martin", "Ravi Patel", "Nora Jensen", "Luis Gomez", "Emma Brown"]
CITIES = ["Berlin", "Lagos", "Toronto", "Seoul", "Lyon", "Porto", "Boston", "Mumbai", "Oslo", "Quito", "Perth", "Kyoto"]
WORDS = ["banana", "letter", "mississippi", "committee", "strawberry", "balloon", "pepper", "window", "parallel",
         "tomorrow", "success", "coffee", "bookkeeper", "river", "elephant", "assessment"]


@dataclass(frozen=True)
class Task:
    kind: str
    prompt: str
    answer: str

    def right(self, text: str) -> bool:
        """Whether an answer is right: the known one is in it as a word, and no other number where one was asked for."""
        said = text.strip().lower().replace(",", "") if self.kind in ("sum", "product") else text.strip().lower()
        if self.kind in ("sum", "product", "letters", "count"):
            numbers = re.findall(r"-?\d+", said)
            return bool(numbers) and numbers[-1] == self.answer
        if self.kind == "json":
            return re.sub(r"\s", "", said) == re.sub(r"\s", "", self.answer.lower())
        if self.kind == "sentiment":
            other = "negative" if self.answer == "positive" else "positive"
            return self.answer in said and other not in said
        return re.search(rf"\b{re.escape(self.answer.lower())}\b", said) is not None


def _sum(rng):
    digits = rng.choice([1, 1, 2, 2, 3])
    a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in "ab")
    return Task("sum", f"What is {a} + {b}? Reply with the number only.", str(a + b))


def _product(rng):
    a, b = rng.randint(2, rng.choice([9, 12, 40])), rng.randint(2, 12)
    return Task("product", f"What is {a} times {b}? Reply with the number only.", str(a * b))


def _capital(rng):
    country = rng.choice(sorted(CAPITALS))
    ask = rng.choice(["Name the capital of {}.", "Which city is the capital of {}? One word."])
    return Task("capital", ask.format(country), CAPITALS[country])


def _opposite(rng):
    pair = rng.choice(OPPOSITES)
    one, other = pair if rng.random() < 0.5 else pair[::-1]
    return Task("opposite", f"Give the opposite of the word '{one}'. Reply with one word.", other)


def _spanish(rng):
    english, spanish = rng.choice(SPANISH)
    return Task("spanish", f"Translate '{english}' to Spanish. Reply with one word.", spanish)


def _sentiment(rng):
    good = rng.random() < 0.5
    text = rng.choice(GOOD if good else BAD)
    ask = f'Is this review positive or negative? "{text}" Reply with one word.'
    return Task("sentiment", ask, "positive" if good else "negative")


def _extract(rng):
    name, city, order = rng.choice(NAMES), rng.choice(CITIES), rng.randint(1000, 99999)
    day = rng.choice(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"])
    text = rng.choice([
        f"Order {order} was placed by {name} on {day} and ships to {city}.",
        f"Hello, this is {name} from {city}. My order {order} did not arrive on {day} as you had promised.",
        f"On {day} we sent parcel {order} to {city}; {name} will sign for it.",
    ])
    what, answer = rng.choice([("order number", str(order)), ("city", city), ("name of the person", name),
                               ("day of the week", day)])
    return Task("extract", f"{text}\n\nWhat is the {what}? Reply with it and nothing else.", answer)


def _letters(rng):
    word = rng.choice(WORDS)
    letter = rng.choice(sorted(set(word)))
    return Task("letters", f"How often is the letter '{letter}' in the word '{word}'? Reply with a number.",
                str(word.count(letter)))


def _count(rng):
    words = rng.sample(["apple", "chair", "stone", "cloud", "fork", "lamp", "shoe", "ring", "boat"], rng.randint(2, 8))
    return Task("count", f"How many words are in this list: {', '.join(words)}? Reply with a number.", str(len(words)))


def _json(rng):
    name, age = rng.choice(NAMES).split()[0], rng.randint(18, 80)
    return Task("json", f'{name} is {age} years old. Write this as JSON with the keys "name" and "age". '
                "Reply with the JSON object only.", f'{{"name":"{name}","age":{age}}}')


def _upper(rng):
    word = rng.choice(WORDS + ["hello", "garden", "music", "paper"])
    return Task("upper", f"Repeat this word exactly: {word}", word)


KINDS = [_sum, _product, _capital, _opposite, _spanish, _sentiment, _extract, _letters, _count, _json, _upper]


def tasks(count: int, seed: int) -> list[Task]:
    """That many different tasks, the kinds in equal parts."""
    rng = random.Random(seed)
    made: dict[str, Task] = {}
    at = 0
    for _ in range(count * 50):
        if len(made) == count:
            break
        task = KINDS[at % len(KINDS)](rng)
        at += 1
        made.setdefault(task.prompt, task)
    return list(made.values())


def split(seed: int, part: str) -> list[Task]:
    """A part of all tasks, by a hash of the prompt: `fit` and `check` never share one."""
    import hashlib
    pool = tasks(900, seed)
    even = lambda task: hashlib.sha256(task.prompt.encode()).digest()[0] % 2 == 0
    return [task for task in pool if even(task) == (part == "fit")]
