from pathlib import Path

import pytest
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from semascope.errors import ModelError
from semascope.text import ByteTokenizer, HuggingFaceTokenizer, pieces

LINES = ["the quick brown fox jumps over the lazy dog", "the dog sleeps", "a fox and a dog and the fox"] * 3
MIXED = "the dog: 日本語 é 🙂!"


def byte_level(*, adds_bos: bool = False, **special: str) -> HuggingFaceTokenizer:
    """A tiny tokenizer in the manner of GPT-2, trained here."""
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", *sorted(set(special.values()) - {"<s>"})],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(LINES, trainer)
    if adds_bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", **special))


def metaspace() -> HuggingFaceTokenizer:
    """A tiny tokenizer in the manner of SentencePiece: a marker for spaces, bytes for unknown characters."""
    words = [
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "▁the",
        "▁dog",
        "t",
        "h",
        "e",
        "d",
        "o",
        "g",
        "a",
    ]
    raw = RawTokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[], byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>"))


def shown(ids: list[int], tokenizer: ByteTokenizer | HuggingFaceTokenizer) -> list[str]:
    found = pieces(ids, tokenizer)
    assert [piece.start for piece in found] == [0, *(piece.stop for piece in found)][:-1]
    assert found[-1].stop == len(ids)
    return [piece.text for piece in found]


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), byte_level(eos_token="</s>")], ids=["bytes", "hugging-face"])
class TestEveryTokenizer:
    """The contract of the Tokenizer protocol."""

    def test_text_survives(self, tokenizer: ByteTokenizer | HuggingFaceTokenizer) -> None:
        texts = [MIXED, "", "two\nlines  and  spaces"]
        assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts

    def test_nothing_to_encode(self, tokenizer: ByteTokenizer | HuggingFaceTokenizer) -> None:
        assert tokenizer.encode([]) == []

    def test_ids_are_in_the_vocabulary_and_no_special_token_is_added(
        self, tokenizer: ByteTokenizer | HuggingFaceTokenizer
    ) -> None:
        (ids,) = tokenizer.encode([MIXED])
        assert all(0 <= id < tokenizer.vocabulary for id in ids)
        assert tokenizer.separator_id is not None
        assert tokenizer.separator_id < tokenizer.vocabulary
        assert tokenizer.separator_id not in ids

    def test_the_separator_can_be_read(self, tokenizer: ByteTokenizer | HuggingFaceTokenizer) -> None:
        assert tokenizer.separator_id is not None
        assert shown([tokenizer.separator_id], tokenizer)[0].startswith("<")

    def test_pieces_are_characters_and_join_to_the_text(self, tokenizer: ByteTokenizer | HuggingFaceTokenizer) -> None:
        (ids,) = tokenizer.encode([MIXED])
        texts = shown(ids, tokenizer)
        assert "".join(texts) == tokenizer.decode(ids) == MIXED
        assert {"日", "本", "語", "é", "🙂"} <= {text.strip() for text in texts}


def test_bos_is_what_the_tokenizer_does_not_what_it_could_do() -> None:
    assert byte_level(eos_token="</s>").bos_id is None
    with_bos = byte_level(adds_bos=True, eos_token="</s>")
    assert with_bos.bos_id == 0
    assert with_bos.encode(["the dog"])[0][0] != 0


def test_the_separator_of_a_chat_model_is_its_end_of_text_not_its_end_of_turn() -> None:
    chat = byte_level(eos_token="<|im_end|>", pad_token="<|endoftext|>")
    assert chat.separator_id is not None
    assert chat.decode([chat.separator_id]) == "<|endoftext|>"
    assert byte_level().separator_id is None


def test_a_saved_tokenizer_is_loaded_from_its_folder(tmp_path: Path) -> None:
    original = byte_level(adds_bos=True, eos_token="</s>")
    original._wrapped.save_pretrained(tmp_path)
    loaded = HuggingFaceTokenizer.load(tmp_path)
    assert loaded.encode([MIXED]) == original.encode([MIXED])
    assert (loaded.bos_id, loaded.separator_id) == (original.bos_id, original.separator_id)
    assert loaded.vocabulary == original.vocabulary


def test_a_folder_without_a_tokenizer_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"'{tmp_path}'.*tokenizer\.json"):
        HuggingFaceTokenizer.load(tmp_path)


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow(PreTrainedTokenizerBase):
        is_fast = False

    with pytest.raises(ModelError, match=r"slow form \(Slow\)"):
        HuggingFaceTokenizer(Slow(name_or_path="someone/old"))


def test_bytes_of_one_character_are_one_piece() -> None:
    assert shown(list("日é🙂x".encode()), ByteTokenizer()) == ["日", "é", "🙂", "x"]


def test_bytes_that_never_become_a_character_take_nothing_with_them() -> None:
    broken = [*b"ok", 0xE6, 0x97, *b"then", 0xFF, 0x97, *"é".encode()]
    assert shown(broken, ByteTokenizer()) == ["o", "k", "\ufffd", *"then", "\ufffd", "\ufffd", "é"]
    assert "".join(shown(broken, ByteTokenizer())) == ByteTokenizer().decode(broken)


def test_a_character_cut_off_at_the_end_is_one_piece() -> None:
    assert shown([*b"a", 0xF0, 0x9F, 0x99], ByteTokenizer()) == ["a", "\ufffd"]


def test_a_real_replacement_character_is_a_character() -> None:
    assert shown(list("a\ufffdb".encode()), ByteTokenizer()) == ["a", "\ufffd", "b"]


def test_a_run_of_invalid_bytes_is_split() -> None:
    assert len(shown([0xFF] * 1000, ByteTokenizer())) == 1000


def test_no_tokens_have_no_pieces() -> None:
    assert pieces([], ByteTokenizer()) == []


def test_leading_spaces_survive_where_the_tokenizer_drops_the_first() -> None:
    tokenizer = metaspace()
    (ids,) = tokenizer.encode(["the dog"])
    texts = shown(ids, tokenizer)
    assert tokenizer.decode(ids) == "the dog"
    assert "".join(texts) == " the dog"
    assert texts[0].startswith(" ")


def test_byte_fallback_tokens_are_shown_as_their_character() -> None:
    tokenizer = metaspace()
    (ids,) = tokenizer.encode(["the 日é🙂"])
    assert shown(ids, tokenizer)[-3:] == ["日", "é", "🙂"]
    assert shown([*ids[:-1], *tokenizer.encode(["a"])[0]], tokenizer)[-1] == "a"


def test_a_request_is_written_in_the_chat_template():
    tokenizer = byte_level()
    assert not tokenizer.has_chat_template
    with pytest.raises(ModelError, match="no chat template"):
        tokenizer.encode_chat("the dog")
    wrapped = tokenizer._wrapped
    wrapped.chat_template = "<s>{{ messages[0]['content'] }}|{% if add_generation_prompt %}fox{% endif %}"
    assert tokenizer.has_chat_template
    assert tokenizer.decode(tokenizer.encode_chat("the dog")) == "<s>the dog|fox"
    wrapped.chat_template = "{{ raise_exception('no single request') }}"
    with pytest.raises(ModelError, match="does not take a single request"):
        tokenizer.encode_chat("the dog")
