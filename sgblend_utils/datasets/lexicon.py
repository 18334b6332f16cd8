"""The words of the mini corpus: English and German forms, and what may go with what.

Add a word by adding a row; `grammar` reads these tables and knows the rules.
"""

from dataclasses import dataclass
from typing import NamedTuple


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
