"""A dictionary with a planted feature for digits, at the embeddings of the tiny model, and texts to find it."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from semascope.concepts import Concept, TextReader
from semascope.models import load_model
from semascope.records import Document, Site
from semascope.sae import L1Config, SparseAutoencoder, build

MODEL, SITE, WIDTH = load_model("tiny", precision="full"), Site(0, "resid_pre"), 32
DIGITS = Concept("Digits", "digits")


def documents(n: int = 60) -> list[Document]:
    """Texts of letters; every second one carries digits."""
    generator = random.Random(0)
    made: list[Document] = []
    for i in range(n):
        letters = generator.choices("abcdefghij ", k=30)
        if i % 2:
            letters[10:20] = generator.choices("0123456789", k=10)
        made.append(Document("".join(letters), "test", frozenset({"digits"} if i % 2 else {"letters"})))
    return made


def embeddings_of(text: str) -> Tensor:
    return MODEL.activations(torch.tensor([MODEL.tokenizer.encode([text])[0]]), SITE)[0]


def dictionary_with_a_digit_feature(feature: int = 7) -> SparseAutoencoder:
    """At the embeddings, where a linear feature can be 1 on every digit; the other features fire on one letter each."""
    autoencoder = build(L1Config(), width=WIDTH, features=20)
    letter_of_feature = torch.eye(11)[torch.arange(20) % 11]
    wanted = torch.cat([torch.zeros(10, 20), letter_of_feature.T])
    wanted[:, feature] = torch.tensor([1.0] * 10 + [0.0] * 11)
    embeddings = torch.cat([embeddings_of("0123456789"), embeddings_of("abcdefghij ")])
    with torch.no_grad():
        autoencoder.W_enc_FD.copy_((torch.linalg.pinv(embeddings) @ (wanted - 0.01)).T)
        # What has a feature differs from the rest by its decoder's row.
        centred = embeddings - embeddings.mean(dim=0)
        autoencoder.W_dec_FO.copy_(torch.nn.functional.normalize((wanted - wanted.mean(dim=0)).T @ centred, dim=1))
    return autoencoder


def reader() -> TextReader:
    return TextReader(MODEL, SITE, dictionary_with_a_digit_feature())
