"""Generates the bundled *mini* data: `translation.tsv` and `reviews.tsv`, beside this script.

    python data/mini/generate.py [FOLDER]

The pairs come from a small synchronous grammar.  They are generated, not collected: their purpose
is to show in seconds that training, masks and decoding work at all, and no result on them says
anything about translation at large.  The German is real German in small: three genders, three
cases, adjective endings, agreement, separable verbs, verb second after a fronted adverb, verb last
in subordinate clauses, `kein` and `nicht`.

A sentence is drawn as one tree, which both languages then read off.  The German is a function of
the English: no English word in the lexicon has two translations that its sentence does not decide.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Lexicon ------------------------------------------------------------------------------------------


class Noun(NamedTuple):
    """`kind`: h human, a animal, t thing, o thing that opens, r thing to read, p place, m mass."""

    kind: str
    en: str
    en_plural: str
    gender: str  # m, f, n
    de: str
    de_plural: str
    weak: str = ""  # the form of weak masculines outside the nominative singular


NOUNS = (
    Noun("h", "man", "men", "m", "Mann", "Männer"),
    Noun("h", "woman", "women", "f", "Frau", "Frauen"),
    Noun("h", "child", "children", "n", "Kind", "Kinder"),
    Noun("h", "boy", "boys", "m", "Junge", "Jungen", "Jungen"),
    Noun("h", "girl", "girls", "n", "Mädchen", "Mädchen"),
    Noun("h", "sister", "sisters", "f", "Schwester", "Schwestern"),
    Noun("h", "neighbor", "neighbors", "m", "Nachbar", "Nachbarn", "Nachbarn"),
    Noun("a", "dog", "dogs", "m", "Hund", "Hunde"),
    Noun("a", "cat", "cats", "f", "Katze", "Katzen"),
    Noun("a", "horse", "horses", "n", "Pferd", "Pferde"),
    Noun("t", "table", "tables", "m", "Tisch", "Tische"),
    Noun("t", "lamp", "lamps", "f", "Lampe", "Lampen"),
    Noun("t", "picture", "pictures", "n", "Bild", "Bilder"),
    Noun("t", "coat", "coats", "m", "Mantel", "Mäntel"),
    Noun("r", "letter", "letters", "m", "Brief", "Briefe"),
    Noun("r", "newspaper", "newspapers", "f", "Zeitung", "Zeitungen"),
    Noun("r", "book", "books", "n", "Buch", "Bücher"),
    Noun("o", "door", "doors", "f", "Tür", "Türen"),
    Noun("o", "window", "windows", "n", "Fenster", "Fenster"),
    Noun("p", "garden", "gardens", "m", "Garten", "Gärten"),
    Noun("p", "city", "cities", "f", "Stadt", "Städte"),
    Noun("p", "house", "houses", "n", "Haus", "Häuser"),
    Noun("m", "coffee", "", "m", "Kaffee", ""),
    Noun("m", "milk", "", "f", "Milch", ""),
    Noun("m", "water", "", "n", "Wasser", ""),
)


class Adjective(NamedTuple):
    """`kinds` are the kinds of noun that it may describe; `de` takes endings as it stands."""

    en: str
    de: str
    kinds: str


ADJECTIVES = (
    Adjective("small", "klein", "hatorp"),
    Adjective("big", "groß", "hatorp"),
    Adjective("old", "alt", "hatorp"),
    Adjective("beautiful", "schön", "hatorp"),
    Adjective("young", "jung", "ha"),
    Adjective("clever", "klug", "ha"),
    Adjective("new", "neu", "torp"),
    Adjective("cold", "kalt", "m"),
    Adjective("fresh", "frisch", "m"),
)


class Determiner(NamedTuple):
    """`kind`: definite, der (like dieser), ein (like mein), or bare (no ending of its own)."""

    en: str
    en_plural: str | None  # None: the determiner has no plural
    stem: str
    kind: str
    weight: float


DETERMINERS = (
    Determiner("the", "the", "d", "definite", 0.40),
    Determiner("a", "", "ein", "ein", 0.24),
    Determiner("this", "these", "dies", "der", 0.12),
    Determiner("every", None, "jed", "der", 0.04),
    Determiner("my", "my", "mein", "ein", 0.10),
    Determiner("his", "his", "sein", "ein", 0.10),
)
KEIN = Determiner("no", "no", "kein", "ein", 0.0)
BARE = Determiner("", "", "", "bare", 0.0)
TWO = Determiner("", "two", "zwei", "bare", 0.0)


CASES = ("nom", "acc", "dat")


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun."""

    agreement: str
    en: tuple[str, str]  # subject, object
    de: tuple[str, str, str]  # nom, acc, dat
    indefinite: bool = False

    def english(self, case: str) -> str:
        """Subject form in the nominative, else object form."""
        return self.en[case != "nom"]

    def german(self, case: str) -> str:
        """The form of a case."""
        return self.de[CASES.index(case)]


HE = Pronoun("3sg", ("he", "him"), ("er", "ihn", "ihm"))
SHE = Pronoun("3sg", ("she", "her"), ("sie", "sie", "ihr"))
IT = Pronoun("3sg", ("it", "it"), ("es", "es", "ihm"))
THEY = Pronoun("pl", ("they", "them"), ("sie", "sie", "ihnen"))
PRONOUNS = (
    Pronoun("1sg", ("I", "me"), ("ich", "mich", "mir")),
    Pronoun("pl", ("we", "us"), ("wir", "uns", "uns")),
    HE,
    SHE,
    THEY,
)


class Verb(NamedTuple):
    """`de` marks a separable prefix with a bar; `perfect` is the auxiliary and the participle.

    A frame lists complements as `case:kinds` or `english_preposition/preposition/case:kinds`.
    """

    en: str
    en_third: str
    en_participle: str
    de: str
    de_third: str
    perfect: str
    subjects: str
    frames: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """The separable prefix, or nothing."""
        return self.de.split("|")[0] if "|" in self.de else ""

    @property
    def infinitive(self) -> str:
        """The infinitive as one word."""
        return self.de.replace("|", "")

    def finite(self, agreement: str) -> str:
        """Present tense without the prefix; agreement is 1sg, 3sg or pl."""
        plain = self.de.split("|")[-1]
        return {"1sg": plain.removesuffix("n"), "3sg": self.de_third, "pl": plain}[agreement]


VERBS = (
    Verb("see", "sees", "seen", "sehen", "sieht", "hat gesehen", "ha", ("acc:hatorp",)),
    Verb("find", "finds", "found", "finden", "findet", "hat gefunden", "ha", ("acc:hatr",)),
    Verb("need", "needs", "needed", "brauchen", "braucht", "hat gebraucht", "h", ("acc:hatrm",)),
    Verb("buy", "buys", "bought", "kaufen", "kauft", "hat gekauft", "h", ("acc:atrm",)),
    Verb("sell", "sells", "sold", "verkaufen", "verkauft", "hat verkauft", "h", ("acc:atr",)),
    Verb("read", "reads", "read", "lesen", "liest", "hat gelesen", "h", ("acc:r",)),
    Verb("drink", "drinks", "drunk", "trinken", "trinkt", "hat getrunken", "ha", ("acc:m",)),
    Verb("visit", "visits", "visited", "besuchen", "besucht", "hat besucht", "h", ("acc:hp",)),
    Verb("call", "calls", "called", "an|rufen", "ruft", "hat angerufen", "h", ("acc:h",)),
    Verb("invite", "invites", "invited", "ein|laden", "lädt", "hat eingeladen", "h", ("acc:h",)),
    Verb("open", "opens", "opened", "auf|machen", "macht", "hat aufgemacht", "h", ("acc:o",)),
    Verb("close", "closes", "closed", "zu|machen", "macht", "hat zugemacht", "h", ("acc:o",)),
    Verb("help", "helps", "helped", "helfen", "hilft", "hat geholfen", "h", ("dat:ha",)),
    Verb("follow", "follows", "followed", "folgen", "folgt", "ist gefolgt", "ha", ("dat:ha",)),
    Verb("give", "gives", "given", "geben", "gibt", "hat gegeben", "h", ("dat:h acc:atrm",)),
    Verb("show", "shows", "shown", "zeigen", "zeigt", "hat gezeigt", "h", ("dat:h acc:atrp",)),
    Verb("sleep", "sleeps", "slept", "schlafen", "schläft", "hat geschlafen", "ha",
         ("", "in/in/dat:p")),
    Verb("work", "works", "worked", "arbeiten", "arbeitet", "hat gearbeitet", "h",
         ("", "in/in/dat:p", "for/für/acc:h")),
    Verb("play", "plays", "played", "spielen", "spielt", "hat gespielt", "ha",
         ("in/in/dat:p", "with/mit/dat:ha")),
    Verb("wait", "waits", "waited", "warten", "wartet", "hat gewartet", "ha",
         ("", "for/auf/acc:ha")),
    Verb("come", "comes", "come", "kommen", "kommt", "ist gekommen", "ha",
         ("", "from/aus/dat:p")),
    Verb("go", "goes", "gone", "gehen", "geht", "ist gegangen", "ha", ("into/in/acc:p",)),
)  # fmt: skip
HABEN = {"1sg": "habe", "3sg": "hat", "pl": "haben"}
SEIN = {"1sg": "bin", "3sg": "ist", "pl": "sind"}
MODALS = {
    "can": {"1sg": "kann", "3sg": "kann", "pl": "können"},
    "must": {"1sg": "muss", "3sg": "muss", "pl": "müssen"},
    "want": {"1sg": "will", "3sg": "will", "pl": "wollen"},
    "must not": {"1sg": "darf", "3sg": "darf", "pl": "dürfen"},  # a ban: not müssen but dürfen
}
ADVERBS = {"now": "jetzt", "today": "heute", "often": "oft", "sometimes": "manchmal"}
NO_MODAL = ("need",)  # "must need" is said in neither language
CONJUNCTIONS = {"because": "weil", "although": "obwohl"}
REPORTS = (  # verbs that take a that-clause
    Verb("think", "thinks", "thought", "glauben", "glaubt", "hat geglaubt", "h", ("",)),
    Verb("say", "says", "said", "sagen", "sagt", "hat gesagt", "h", ("",)),
    Verb("hope", "hopes", "hoped", "hoffen", "hofft", "hat gehofft", "h", ("",)),
)


# Grammar ------------------------------------------------------------------------------------------

PAIRS = {"train": 3000, "validation": 200, "test": 200}

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
    """`n` pairs (English, German), all different on either side; the same for the same seed."""
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


# Reviews ------------------------------------------------------------------------------------------

REVIEWS = {"train": 3000, "validation": 300, "test": 600}
GOOD = ("good", "great", "funny", "witty", "moving", "lovely")
BAD = ("bad", "awful", "boring", "stupid", "dull", "ugly")
TOPICS = ("film", "story", "music", "ending", "acting", "camera")


def generate_reviews(n: int, seed: int) -> list[tuple[str, str]]:
    """`n` pairs (label, text): "1" where the opinion is positive once `not` is taken into account.

    It ("The music was not bad.") stands before or after a sentence of the grammar, which has a
    `not` of its own now and then.  Positive and negative words are equally often negated: no word
    alone says anything about the label.
    """
    rng = np.random.default_rng(seed)
    others = [english for english, _ in generate_pairs(n, seed + 1)]
    out = []
    for other in others:
        positive, negated = rng.random(2) < 0.5
        words = GOOD if positive else BAD
        topic, word = (options[int(rng.random() * len(options))] for options in (TOPICS, words))
        parts = [f"The {topic} was {'not ' if negated else ''}{word}.", other]
        text = " ".join(parts if rng.random() < 0.5 else parts[::-1])
        out.append((str(int(positive != negated)), text))
    return out


def write(path: Path, rows: list[tuple[str, str]], sizes: dict[str, int]) -> None:
    splits = [split for split, size in sizes.items() for _ in range(size)]
    lines = ["\t".join((split, *row)) for split, row in zip(splits, rows, strict=True)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def main(folder: Path) -> None:
    write(folder / "translation.tsv", generate_pairs(sum(PAIRS.values()), seed=0), PAIRS)
    write(folder / "reviews.tsv", generate_reviews(sum(REVIEWS.values()), seed=0), REVIEWS)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
