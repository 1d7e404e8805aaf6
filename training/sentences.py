"""The toy models' entire language: a small grammar of sentences from customer-service calls.

Every sentence is a random template whose slots (``{day}``) are filled from short word lists. A hash of its text
assigns a sentence to the training set or the held-out set, so the two never share a sentence.
"""

from __future__ import annotations

import hashlib
import random
import re

SLOTS: dict[str, list[str]] = {
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "digit": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "number": [
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "twenty",
        "thirty",
        "fifty",
    ],
    "product": [
        "phone",
        "laptop",
        "printer",
        "camera",
        "lamp",
        "chair",
        "table",
        "kettle",
        "jacket",
        "router",
        "screen",
        "battery",
    ],
    "color": ["black", "white", "red", "blue", "green"],
    "problem": ["broken", "damaged", "missing", "wrong", "dirty", "late", "empty", "old"],
    "name": ["Anna", "Peter", "Maria", "David", "Laura", "Thomas"],
    "unit": ["minutes", "hours", "days", "weeks"],
    "detail": ["name", "address", "email address", "phone number", "order number", "account number"],
    "thing": ["order", "booking", "contract", "delivery", "account", "address"],
    "action": ["cancel", "change", "check", "close", "confirm"],
    "paper": ["refund", "receipt", "discount", "new invoice", "new contract", "new password"],
    "good": ["great", "wonderful", "perfect", "very good", "very kind"],
    "bad": ["terrible", "not acceptable", "very bad", "not fair", "really too much"],
    "when": ["today", "tomorrow", "now", "this week", "next week", "on {day}", "last {day}"],
    "future": ["today", "tomorrow", "next week", "on {day}", "on {day} morning", "in {number} {unit}"],
    "part": ["morning", "afternoon", "evening"],
    "street": ["Park", "Station", "Church", "Garden", "River"],
    "feeling": ["happy", "angry", "sad", "sorry", "glad"],
    "who": ["your manager", "a manager", "the service team", "{name}", "your colleague"],
    "open": ["Yes", "No", "Well", "Hello", "Sorry", "Excuse me", "Good {part}", "Thank you", "Okay"],
    "close": ["please", "thank you", "if you can"],
    "place": ["the shop", "your shop", "my address", "my office", "{street} Street"],
}

TEMPLATES: list[str] = [
    "Good {part}, my name is {name}, how can I help you?",
    "Hello, this is {name} from the service team.",
    "Hello, my name is {name}.",
    "I would like to {action} my {thing}.",
    "Can you {action} the {thing} {when}?",
    "I want to {action} my {thing} {future}.",
    "I ordered a {color} {product} last {day}.",
    "I bought the {color} {product} {number} {unit} ago.",
    "My order number is {digit} {digit} {digit} {digit}.",
    "The number is {digit} {digit} {digit} {digit} {digit}.",
    "My phone number is {digit} {digit} {digit}, {digit} {digit} {digit}.",
    "The {color} {product} is {problem}.",
    "The {product} arrived {problem} last {day}.",
    "The {product} does not work and the {product} is {problem}.",
    "The {product} and the {product} are {problem}.",
    "I have been waiting for {number} {unit}.",
    "I called {who} {number} times.",
    "Can you send me a {paper} {future}?",
    "Could you give me a {paper}?",
    "I need a {paper} for the {color} {product}.",
    "This is {bad}, I want my money back {when}.",
    "I want to speak to {who} {when}.",
    "Nobody called me back {when}.",
    "We will send you a new {color} {product} {future}.",
    "We can send the {product} to {place}.",
    "Your {product} will arrive {future}.",
    "Your {paper} will be ready {future}.",
    "I am very {feeling} about the {product}.",
    "I am so {feeling} that you called {when}.",
    "Please wait {number} {unit} while I check your {thing}.",
    "What is your {detail}?",
    "Could you repeat the {detail}?",
    "Please tell me your {detail} and your {detail}.",
    "My address is {number} {street} Street.",
    "That is {good}, thank you for your help.",
    "The service was {good} {when}.",
    "The service at {place} is {bad}.",
    "You charged me {number} dollars for the {product}.",
    "The {product} costs {number} dollars and {number} cents.",
    "I paid {number} dollars for this {color} {product}.",
    "Is there anything else I can do for you {when}?",
    "Have a nice {part} and thank you for calling.",
    "I will call you back {future}.",
    "{name} will call you {future}.",
    "I understand, the {product} is {problem}.",
    "When will my {product} arrive?",
    "Where is my {color} {product}?",
    "Why is the {product} {problem}?",
    "The {product} stopped after {number} {unit}.",
    "Please bring the {product} to {place} {future}.",
    "It is {digit} {digit} {digit}.",
    "Thank you very much, {name}.",
    "That is right.",
    "That is {bad}.",
    "That is {good}.",
    "It still does not work.",
    "Thank you very much.",
    "Goodbye.",
    "Yes, please.",
    "No, thank you.",
    "One moment, please.",
]

_SLOT = re.compile(r"\{(\w+)\}")
WORD = re.compile(r"[A-Za-z']+")


def _fill(template: str, rng: random.Random) -> str:
    """Fill the slots of `template`, including slots inside the chosen words, at random."""
    while _SLOT.search(template):
        template = _SLOT.sub(lambda match: rng.choice(SLOTS[match.group(1)]), template, count=1)
    return template


def _dress(text: str, rng: random.Random) -> str:
    """Sometimes add an opening before the sentence or a polite phrase after it."""
    first = text.split()[0]
    if rng.random() < 0.25 and first not in {"Good", "Hello,", "Yes,", "No,", "Thank", "Goodbye."}:
        proper = text.startswith(("I ", *SLOTS["name"]))
        text = _fill(rng.choice(SLOTS["open"]), rng) + ", " + (text if proper else text[0].lower() + text[1:])
    elif rng.random() < 0.15 and len(text.split()) > 3 and "thank" not in text.lower():
        text = text[:-1] + ", " + rng.choice(SLOTS["close"]) + text[-1]
    return text


def is_held_out(text: str) -> bool:
    """Whether the sentence is reserved for evaluation: one in eight of those with at least five words."""
    digest = hashlib.sha256(" ".join(words(text)).encode()).digest()
    return len(text.split()) >= 5 and digest[0] % 8 == 0


def words(text: str) -> list[str]:
    """The sentence's words in lower case, without punctuation."""
    return [word.lower() for word in WORD.findall(text)]


def sentence(rng: random.Random, held_out: bool = False) -> str:
    """Draw a sentence from the training set or the held-out set."""
    while True:
        text = _dress(_fill(rng.choice(TEMPLATES), rng), rng)
        if is_held_out(text) == held_out:
            return text


def vocabulary() -> list[str]:
    """All words of the grammar, in lower case, sorted."""
    listed = [choice for choices in SLOTS.values() for choice in choices]
    return sorted({word for text in listed + TEMPLATES for word in words(_SLOT.sub(" ", text))})
