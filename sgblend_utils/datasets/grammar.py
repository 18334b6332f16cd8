"""The bundled *mini* corpus: English-German pairs that a small synchronous grammar generates.

It is made here, not collected: its purpose is to show in seconds that training, masks and decoding
work at all, and no result on it says anything about translation at large.  The German is real
German in small: three genders, three cases, adjective endings, agreement, separable verbs, verb
second after a fronted adverb, verb last in subordinate clauses, `kein` and `nicht`.

A sentence is drawn as one tree, which both languages then read off.  The German is a function of
the English: no English word in the lexicon has two translations that its sentence does not decide.
"""

from dataclasses import dataclass, replace

import numpy as np

from sgblend_utils.datasets.lexicon import (
    ADJECTIVES,
    ADVERBS,
    BARE,
    CONJUNCTIONS,
    DETERMINERS,
    HABEN,
    HE,
    IT,
    KEIN,
    MODALS,
    NO_MODAL,
    NOUNS,
    PRONOUNS,
    REPORTS,
    SEIN,
    SHE,
    THEY,
    TWO,
    VERBS,
    Adjective,
    Determiner,
    Noun,
    Pronoun,
    Verb,
)
from sgblend_utils.errors import UserError

MINI_SIZES = {"train": 3000, "validation": 200, "test": 200}

# ---------------------------------------------------------------- agreement

# Endings by case; columns are masculine, feminine, neuter, plural.
DEFINITE = {"nom": "der die das die", "acc": "den die das die", "dat": "dem der dem den"}
STRONG = {"nom": "er e es e", "acc": "en e es e", "dat": "em er em en"}
EIN = {"nom": "- e - e", "acc": "en e - e", "dat": "em er em en"}


def _cell(table: dict[str, str], case: str, column: str) -> str:
    return table[case].split()["mfnp".index(column)].replace("-", "")


def adjective_ending(case: str, column: str, determiner_ending: str) -> str:
    """Strong where no ending of the determiner shows the case, else weak; "mixed" follows."""
    if not determiner_ending:
        return _cell(STRONG, case, column)
    bare_case = case == "nom" or (case == "acc" and column in "fn")
    return "e" if column != "p" and bare_case else "en"


@dataclass(frozen=True)
class NounPhrase:
    """A noun with its determiner, number and adjective; English and German forms by case."""

    noun: Noun
    determiner: Determiner
    plural: bool = False
    adjective: Adjective | None = None

    @property
    def agreement(self) -> str:
        """Person and number that the verb takes."""
        return "pl" if self.plural else "3sg"

    @property
    def column(self) -> str:
        """Gender in the singular, p in the plural: the column of the tables of endings."""
        return "p" if self.plural else self.noun.gender

    @property
    def indefinite(self) -> bool:
        """Whether a negation turns the determiner into `kein`."""
        return self.determiner.en == "a" or self.determiner is BARE

    def english(self, case: str) -> str:
        """The phrase, the same in every case."""
        del case
        words = [
            self.determiner.en_plural if self.plural else self.determiner.en,
            self.adjective.en if self.adjective else "",
            self.noun.en_plural if self.plural else self.noun.en,
        ]
        words = [word for word in words if word]
        if words[0] == "a" and words[1][0] in "aeiou":
            words[0] = "an"
        return " ".join(words)

    def german(self, case: str) -> str:
        """The phrase in a case, with determiner, adjective ending and noun agreeing."""
        kind, stem = self.determiner.kind, self.determiner.stem
        if kind == "definite":
            ending, determiner = "-", _cell(DEFINITE, case, self.column)
        else:
            tables = {"der": STRONG, "ein": EIN}
            ending = _cell(tables[kind], case, self.column) if kind in tables else ""
            determiner = stem + ending
        noun = self.noun.de_plural if self.plural else self.noun.de
        if self.plural and case == "dat" and noun[-1] not in "ns":
            noun += "n"
        elif not self.plural and case != "nom" and self.noun.weak:
            noun = self.noun.weak
        words = [determiner, noun]
        if self.adjective:
            words.insert(1, self.adjective.de + adjective_ending(case, self.column, ending))
        return " ".join(word for word in words if word)


def it_for(noun_phrase: NounPhrase) -> Pronoun:
    """The pronoun for a thing: English `it` or `them`, German by the noun's gender."""
    german = {"m": HE, "f": SHE, "n": IT, "p": THEY}[noun_phrase.column]
    return replace(THEY if noun_phrase.plural else IT, de=german.de)


# ---------------------------------------------------------------- clauses


@dataclass(frozen=True)
class Clause:
    """One finite clause: a verb with its complements, or `be` with a predicate adjective.

    `mood` is present, perfect, can, must or want.  A complement is (English preposition, German
    preposition, case, phrase), both prepositions empty for an object.
    """

    subject: NounPhrase | Pronoun
    verb: Verb | None = None
    complements: tuple[tuple[str, str, str, NounPhrase | Pronoun], ...] = ()
    predicate: Adjective | None = None
    mood: str = "present"
    negated: bool = False

    def english(self, question: bool = False) -> str:
        """The clause without punctuation, as a statement or a yes-no question."""
        who, third = self.subject.english("nom"), self.subject.agreement == "3sg"
        if self.verb is None:
            helper = {"1sg": "am", "3sg": "is", "pl": "are"}[self.subject.agreement]
            rest = [self.predicate.en]
        elif self.mood == "perfect":
            helper, rest = ("has" if third else "have"), [self.verb.en_participle]
        elif self.mood in ("can", "must"):
            helper, rest = self.mood, [self.verb.en]
        elif self.negated or question:
            helper = "does" if third else "do"
            rest = ["want to", self.verb.en] if self.mood == "want" else [self.verb.en]
        elif self.mood == "want":
            helper, rest = ("wants to" if third else "want to"), [self.verb.en]
        else:
            helper, rest = "", [self.verb.en_third if third else self.verb.en]
        for preposition, _, case, phrase in self.complements:
            rest += [preposition, phrase.english(case if not preposition else "acc")]
        head = [helper, who] if question else [who, helper]
        words = [*head, "not" if self.negated else "", *rest]
        return " ".join(word for word in words if word).replace("can not", "cannot")

    def german(self, order: str = "second") -> str:
        """`order` says where the finite verb stands: second, first or last."""
        agreement = self.subject.agreement
        if self.verb is None:
            finite, closing = SEIN[agreement], []
        elif self.mood == "present":
            finite, closing = self.verb.finite(agreement), [self.verb.prefix]
            if order == "last":
                finite, closing = self.verb.prefix + finite, []
        elif self.mood == "perfect":
            auxiliary, participle = self.verb.perfect.split()
            finite, closing = {"hat": HABEN, "ist": SEIN}[auxiliary][agreement], [participle]
        else:
            modal = "must not" if self.mood == "must" and self.negated else self.mood
            finite, closing = MODALS[modal][agreement], [self.verb.infinitive]
        middle = self._middle()
        who = self.subject.german("nom")
        words = {
            "second": [who, finite, *middle, *closing],
            "first": [finite, who, *middle, *closing],
            "last": [who, *middle, *closing, finite],
        }[order]
        return " ".join(word for word in words if word)

    def _middle(self) -> list[str]:
        """Objects, then `nicht`, then prepositional phrases and predicates.

        An indefinite last object takes the negation itself, as `kein`.
        """
        objects = [(case, phrase) for _, de, case, phrase in self.complements if not de]
        negation = "nicht" if self.negated else ""
        if self.negated and objects and objects[-1][1].indefinite:
            case, phrase = objects[-1]
            objects[-1], negation = (case, replace(phrase, determiner=KEIN)), ""
        words = [phrase.german(case) for case, phrase in objects] + [negation]
        for _, preposition, case, phrase in self.complements:
            if preposition:
                text = f"{preposition} {phrase.german(case)}"
                words.append(text.replace("in dem ", "im ").replace("in das ", "ins "))
        return [*words, self.predicate.de if self.predicate else ""]


# ---------------------------------------------------------------- drawing


class _Sampler:
    """Draws trees.  `plain` clauses, used in pairs, have few adjectives and simple moods."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def choose(self, items, weights=None):
        # From `random` alone: NumPy keeps that stream the same between versions, not `choice`.
        bounds = np.cumsum(weights if weights is not None else np.ones(len(items)))
        place = np.searchsorted(bounds, self.rng.random() * bounds[-1], side="right")
        return items[min(int(place), len(items) - 1)]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def noun_phrase(self, kinds: str, plain: bool, definite: bool = False) -> NounPhrase:
        kind = self.choose(kinds)
        noun = self.choose([noun for noun in NOUNS if noun.kind == kind])
        plural = bool(noun.en_plural) and self.chance(0.25)
        determiners = [
            d
            for d in DETERMINERS
            if not (plural and d.en_plural is None)
            and not (definite and d.en == "a")
            and not (noun.kind == "m" and d.en == "every")
        ]
        determiner = self.choose(determiners, [d.weight for d in determiners])
        if determiner.en == "a" and (plural or noun.kind == "m"):
            determiner = TWO if plural and self.chance(0.4) else BARE
        fitting = [adjective for adjective in ADJECTIVES if noun.kind in adjective.kinds]
        adjective = self.choose(fitting) if self.chance(0.15 if plain else 0.4) else None
        return NounPhrase(noun, determiner, plural, adjective)

    def subject(self, kinds: str, plain: bool) -> NounPhrase | Pronoun:
        if self.chance(0.6 if plain else 0.25):
            return self.choose(PRONOUNS)
        return self.noun_phrase(kinds, plain)

    def clause(self, plain: bool = False, inverted: bool = False, negatable: bool = True) -> Clause:
        if self.chance(0.12):
            subject = self.subject("hatorp", plain)
            kinds = subject.noun.kind if isinstance(subject, NounPhrase) else "h"
            fitting = [adjective for adjective in ADJECTIVES if kinds in adjective.kinds]
            if isinstance(subject, NounPhrase):
                subject = replace(subject, adjective=None)  # or a new house might be old
            clause = Clause(subject, predicate=self.choose(fitting))
        else:
            verb = self.choose(VERBS)
            subject = self.subject(verb.subjects, plain)
            slots = [slot.split("/") for slot in self.choose(verb.frames).split()]
            complements = []
            for slot in slots:
                *prepositions, what = slot
                case, kinds = what.split(":")
                phrase = self.noun_phrase(kinds, plain, definite=len(slots) > 1 and case == "dat")
                # An object pronoun would have to move before an inverted noun subject; and
                # "I see me" would be reflexive.
                movable = inverted and not prepositions
                if "h" in kinds and not movable and self.chance(0.25):
                    first = isinstance(subject, Pronoun) and subject.en[0] in ("I", "we")
                    phrase = self.choose(PRONOUNS[2:] if first else PRONOUNS)
                complements.append((*(prepositions or ("", "")), case, phrase))
            moods = (6, 2, 0, 0, 0) if verb.en in NO_MODAL else (6, 2, 1, 1, 1)
            mood = self.choose(("present", "perfect", "can", "must", "want"), moods)
            clause = Clause(subject, verb, tuple(complements), mood=mood)
        phrases = [clause.subject, *(complement[3] for complement in clause.complements)]
        # "Every" and "two" under negation could be read in two ways.
        scoped = any(
            isinstance(p, NounPhrase) and p.determiner.stem in ("jed", "zwei") for p in phrases
        )
        negated = negatable and not scoped and self.chance(0.2)
        return replace(clause, negated=negated)

    def sentence(self) -> tuple[str, str]:
        """One pair, capitalized and punctuated."""
        kinds = ("statement", "adverb", "question", "reason", "report", "condition", "reference")
        weights = (0.42, 0.16, 0.10, 0.10, 0.08, 0.06, 0.08)
        mark, en, de = getattr(self, "_" + self.choose(kinds, weights))()
        return en[0].upper() + en[1:] + mark, de[0].upper() + de[1:] + mark

    def _statement(self) -> tuple[str, str, str]:
        clause = self.clause()
        return ".", clause.english(), clause.german()

    def _adverb(self) -> tuple[str, str, str]:
        adverb, clause = self.choose(tuple(ADVERBS)), self.clause(inverted=True)
        return ".", f"{adverb} {clause.english()}", f"{ADVERBS[adverb]} {clause.german('first')}"

    def _question(self) -> tuple[str, str, str]:
        clause = self.clause(inverted=True, negatable=False)
        return "?", clause.english(question=True), clause.german("first")

    def _reason(self) -> tuple[str, str, str]:
        conjunction = self.choose(tuple(CONJUNCTIONS))
        # A negated main clause would leave open what the reason is for.
        main, reason = self.clause(plain=True, negatable=False), self.clause(plain=True)
        return (
            ".",
            f"{main.english()} {conjunction} {reason.english()}",
            f"{main.german()}, {CONJUNCTIONS[conjunction]} {reason.german('last')}",
        )

    def _report(self) -> tuple[str, str, str]:
        speaker = Clause(self.subject("h", plain=True), self.choose(REPORTS))
        said = self.clause(plain=True)
        return (
            ".",
            f"{speaker.english()} that {said.english()}",
            f"{speaker.german()}, dass {said.german('last')}",
        )

    def _condition(self) -> tuple[str, str, str]:
        condition, main = self.clause(plain=True), self.clause(plain=True, inverted=True)
        return (
            ".",
            f"if {condition.english()}, {main.english()}",
            f"wenn {condition.german('last')}, {main.german('first')}",
        )

    @staticmethod
    def _thing_kinds(verb: Verb) -> str:
        """The kinds of inanimate direct object that a verb takes, none for other verbs."""
        case, _, kinds = verb.frames[0].partition(":")
        return "".join(kind for kind in kinds if kind in "torpm") if case == "acc" else ""

    def _reference(self) -> tuple[str, str, str]:
        """A second clause about the object of the first, by a pronoun of its gender."""
        wanted = {verb: self._thing_kinds(verb) for verb in VERBS}
        verb = self.choose([verb for verb, kinds in wanted.items() if kinds])
        thing = replace(self.noun_phrase(wanted[verb], plain=True), adjective=None)
        buyer = self.subject("h", plain=True)
        main = Clause(buyer, verb, (("", "", "acc", thing),))
        pronoun = it_for(thing)
        if verb.en == "need" or self.chance(0.5):
            fitting = [a for a in ADJECTIVES if thing.noun.kind in a.kinds]
            second = Clause(pronoun, predicate=self.choose(fitting))
        else:
            need = next(verb for verb in VERBS if verb.en == "need")
            second = Clause(self.choose(PRONOUNS), need, (("", "", "acc", pronoun),))
        conjunction = self.choose(tuple(CONJUNCTIONS))
        return (
            ".",
            f"{main.english()} {conjunction} {second.english()}",
            f"{main.german()}, {CONJUNCTIONS[conjunction]} {second.german('last')}",
        )


def generate_pairs(n: int, seed: int) -> list[tuple[str, str]]:
    """`n` pairs (English, German), all different on either side; the same for the same seed.

    Raises:
        UserError: `n` is not positive.
    """
    if n < 1:
        raise UserError(f"The number of pairs must be positive, not {n}.")
    sampler = _Sampler(np.random.default_rng(seed))
    pairs: list[tuple[str, str]] = []
    english: set[str] = set()
    german: set[str] = set()
    while len(pairs) < n:
        en, de = sampler.sentence()
        if en in english or de in german:
            continue
        english.add(en)
        german.add(de)
        pairs.append((en, de))
    return pairs


def mini_corpus(seed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """The mini task's data: 3,000 training, 200 validation and 200 test pairs, none in common."""
    pairs = generate_pairs(sum(MINI_SIZES.values()), seed)
    corpus, start = {}, 0
    for split, size in MINI_SIZES.items():
        corpus[split] = pairs[start : start + size]
        start += size
    return corpus
