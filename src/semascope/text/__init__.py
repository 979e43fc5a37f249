"""Text: corpora as streams of documents, tokenizers, and windows of tokens."""

from semascope.text.corpus import Corpus, CorpusConfig, is_held_out, shuffled
from semascope.text.display import Piece, pieces, token_text
from semascope.text.documents import read_documents
from semascope.text.labelled import POSITIVE, positive_label, read_labelled, read_two_sides
from semascope.text.sample import read_sample
from semascope.text.tokenizer import ByteTokenizer, HuggingFaceTokenizer, Tokenizer
from semascope.text.windows import one_window_each, pack

__all__ = [
    "POSITIVE",
    "ByteTokenizer",
    "Corpus",
    "CorpusConfig",
    "HuggingFaceTokenizer",
    "Piece",
    "Tokenizer",
    "is_held_out",
    "one_window_each",
    "pack",
    "pieces",
    "positive_label",
    "read_documents",
    "read_labelled",
    "read_sample",
    "read_two_sides",
    "shuffled",
    "token_text",
]
