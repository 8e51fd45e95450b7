"""Makes tests/goldens/text: small CLIP tokenizers, and the ids that transformers gives a corpus of prompts.

Needs transformers 5 (made with 5.23, tokenizers 0.23.3):  python tests/goldens/make_text.py
"""

import json
import os
import random
import shutil
import warnings

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

warnings.filterwarnings("ignore")
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text")
BOS, EOS = "<|startoftext|>", "<|endoftext|>"

TRAINING = """
a red balloon over green hills at sunset. a small house on the left of a mountain at night under the moon and stars.
the photograph of an astronaut riding a horse on mars, highly detailed, digital painting, artstation, concept art,
smooth, sharp focus, illustration, by greg and alphonse. it's a dog's life: they're here, we've seen it, i'm sure,
he'll come and she'd go, don't you think? a beautiful painting of a desert city, a boat on the calm blue sea, clouds,
a yellow car beside a tree with white flowers, morning light, dawn, noon, sunset, night. oil on canvas, 4k, 8k, 1024.
une maison bleue près de la forêt, ein großes rotes haus über dem fluss, el niño señala la montaña, ångström, naïve café
日本の山と海の絵 夕焼けの空 猫と犬 中国山水画 красный шар над зелёными холмами на закате дом слева от горы ночью
κόκκινο μπαλόνι πάνω από πράσινους λόφους अच्छा चित्र صورة جميلة ภาพสวย 그림 속의 빨간 풍선
"""

CORPUS = [
    "", " ", "\n\t  \r\n", "a", "a red balloon over green hills at sunset", "A Red BALLOON Over GREEN Hills",
    "a photograph of an astronaut riding a horse", "(masterpiece:1.2), [best quality], ((highly detailed)), 8k, --ar 16:9",
    # contractions and apostrophes
    "it's", "IT'S a dog's life, they're here", "we've I'm you'll he'd don't 't 'sun 'RE''s", "it\u2019s rock\u2018n\u2019roll", "''''s 's's 'd'dd",
    # digits and punctuation
    "1234567890 3.14 1e-5 1,000", "a1b2c3", "\u00bd \u00b2 \u2167 \u0663\u0664 \u096a \u3007 \u5341", "!!! ... ?!? ,,, -- __ ~~ @#$%^&*()", "a.b,c;d:e-f_g/h\\i|j",
    "<html><b>bold</b></html> &amp; {json: \"value\"}", "a  b   c", "trailing space ", " leading space",
    # white space of every kind
    "tab\there", "line\nbreak\r\nand\rreturn", "nbsp\u00a0here", "thin\u2009space ideographic\u3000space", "zero\u200bwidth word\u2060joiner bom\ufeffhere",
    "next\u0085line ls\u2028ps\u2029end", "ogham\u1680mark mongolian\u180evowel", "vertical\u000btab form\u000cfeed", "\u2000\u2001\u2002\u2003\u202f\u205f",
    # control characters
    "nul\u0000byte", "bell\u0007 esc\u001b[31m del\u007f", "\u001c\u001d\u001e\u001f", "a\u0001b\u0080c\u009f",
    # accents, composition, case
    "caf\u00e9", "cafe\u0301", "na\u00efve Na\u0308ive \u00c5ngstr\u00f6m A\u030angstro\u0308m \u212bngstrom", "e\u0301\u0327 e\u0327\u0301", "\u1e9b\u0323 \ufb01 \ufb03 \u2126 \u212a",
    "\u0130stanbul I\u0131i\u0307", "STRASSE stra\u00dfe STRA\u1e9eE", "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03a3 \u03c3\u03c2", "\u01c5 \u01c4 \u1f88 \u1fbc", "\u10a0 \u13a0 \uab70 \u2c00 \U00010400 \U0001e900",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8", "\u0915\u093c \u0958 \u09c7\u09be", "\u0e20\u0e32\u0e1e\u0e2a\u0e27\u0e22", "\u0635\u0648\u0631\u0629 \u062c\u0645\u064a\u0644\u0629 \u0651\u064e", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "z\u0351\u036b\u0343a\u0353\u0332l\u0321\u0320g\u0347\u0348o\u0326", "\u0301leading mark", "a\u0301\u0301\u0301\u0301",
    # CJK, emoji
    "\u65e5\u672c\u306e\u5c71\u3068\u6d77\u306e\u7d75", "\u4e2d\u56fdsunset\u5c71\u6c34\u753b 4k", "\uff21\uff22\uff23 \uff11\uff12\uff13 \uff76\uff9e\u30ac", "\U00020000\U0002a6df \U00031350\U000323af \U0002ebf0",
    "\U0001f388 a balloon \U0001f388\U0001f388", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f \u2615", "cat\U0001f431cat", "\U0010ffff \ufffe \ue000 \U000e0001",
    # special tokens in the text
    EOS, BOS, f"a {EOS} b", f"a{EOS}b", f"{BOS}{BOS}x{EOS}{EOS}", "<|ENDOFTEXT|> <|StartOfText|>", "x<|STARTOFTEXT|>y", "<|endoftext", "|endoftext|>", "<|endoftext|<|endoftext|>>",
    "!!<|startoftext|>!!", "! pad! !", "a <foo> b <FOO>c", "<foo><foo> <foo>", "bar xbar bar-bar Bar BAR\u0301", "w</w>x </w>",
    # long
    "supercalifragilisticexpialidocious" * 8, "x" * 300, "\u5c71" * 90, "!" * 200, "ab" * 100 + "'s" * 20, "word " * 100,
    "a painting of " + "a very " * 40 + "tall mountain at night, its peaks glowing; the moon, 3 stars, and \u00e9l\u00e9phants \U0001f418 below",
    "1" * 100, ". " * 76 + "last", "one two three four five six seven eight nine ten " * 7 + "the end\u001f",
]


def write(path, value):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


def train():
    """vocab and merges in CLIP's order: bytes, bytes with </w>, merges, special tokens."""
    trainer_side = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainer_side.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    trainer_side.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    trainer = trainers.BpeTrainer(vocab_size=1100, end_of_word_suffix="</w>", show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trainer_side.train_from_iterator([TRAINING] * 3, trainer)
    merges = json.loads(trainer_side.to_str())["model"]["merges"]
    # CLIP's byte order: printable ones for themselves first, then the others.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += [a + b for a, b in merges if a + b not in tokens]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens + [BOS, EOS]))}
    return vocab, merges


def flags(content, normalized, special=None, **others):
    out = dict(content=content, lstrip=False, normalized=normalized, rstrip=False, single_word=False, **others)
    return out if special is None else {**out, "special": special}


def folders(vocab, merges):
    """The ways in which published folders write the same tokenizer, each with a difference of its own."""
    sd1 = {"add_prefix_space": False, "bos_token": {"__type": "AddedToken", **flags(BOS, True)}, "do_lower_case": True,
           "eos_token": {"__type": "AddedToken", **flags(EOS, True)}, "errors": "replace", "model_max_length": 77,
           "pad_token": EOS, "tokenizer_class": "CLIPTokenizer", "unk_token": {"__type": "AddedToken", **flags(EOS, True)}}
    sd1_map = {"bos_token": flags(BOS, True), "eos_token": flags(EOS, True), "pad_token": EOS, "unk_token": flags(EOS, True)}
    decoder = {"0": flags("!", True, True), str(vocab[BOS]): flags(BOS, True, True), str(vocab[EOS]): flags(EOS, False, True)}
    sdxl = {"added_tokens_decoder": decoder, "bos_token": BOS, "eos_token": EOS, "model_max_length": 77, "pad_token": "!",
            "tokenizer_class": "CLIPTokenizer", "unk_token": EOS}
    more = {**decoder, str(len(vocab)): {**flags("<foo>", True, False), "lstrip": True, "rstrip": True},
            str(len(vocab) + 1): {**flags("bar", True, False), "single_word": True}}
    return {
        "sd1": {"tokenizer_config.json": sd1, "special_tokens_map.json": sd1_map},
        "pad0": {"tokenizer_config.json": {**sd1, "pad_token": "!"}, "special_tokens_map.json": {**sd1_map, "pad_token": "!"}},
        "sdxl": {"tokenizer_config.json": sdxl, "special_tokens_map.json": {**sd1_map, "pad_token": EOS}},
        "plain": {"tokenizer_config.json": {"model_max_length": 20}},
        "more": {"tokenizer_config.json": {**sdxl, "added_tokens_decoder": more, "pad_token": EOS}},
        "older": {"tokenizer_config.json": sd1, "added_tokens.json": {"<foo>": len(vocab), "bar": len(vocab) + 1}},
    }


def fnv(data, state=0xCBF29CE484222325):
    for value in data:
        state = (state ^ value) * 0x100000001B3 % 2**64
    return state


def random_prompts(count):
    rng = random.Random(5)
    ranges = [(0x20, 0x7F), (0x20, 0x7F), (0, 0x20), (0x80, 0x250), (0x250, 0x400), (0x300, 0x370), (0x400, 0x600),
              (0x900, 0xA00), (0x1100, 0x1200), (0x1E00, 0x2100), (0x3040, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00),
              (0xFB00, 0xFC00), (0xFF00, 0xFFF0), (0x1D100, 0x1D200), (0x1F300, 0x1F700)]
    out = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 6)):
            low, high = rng.choice(ranges)
            text += "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 8)))
            text += rng.choice(["", "", " ", "'s", "\u0301", "\u0327\u0301"])
        out.append(text)
    return out


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    vocab, merges = train()
    write(f"{OUT}/vocab.json", vocab)
    with open(f"{OUT}/merges.txt", "w", encoding="utf-8", newline="\n") as file:
        file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    golden = {"made_with": "transformers 5.23.0, tokenizers 0.23.3", "corpus": CORPUS + random_prompts(120), "folders": {}}
    for name, files in folders(vocab, merges).items():
        folder = f"{OUT}/scratch"
        os.makedirs(folder)
        for file, value in files.items():
            write(f"{folder}/{file}", value)
        shutil.copy(f"{OUT}/vocab.json", folder)
        shutil.copy(f"{OUT}/merges.txt", folder)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        plain = [tokenizer(text).input_ids for text in golden["corpus"]]
        padded, cut = [], []
        for text, ids in zip(golden["corpus"], plain):
            row = tokenizer(text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True).input_ids
            padded.append(fnv(row))
            # as diffusers: what its warning prints
            cut.append(tokenizer.batch_decode([ids[tokenizer.model_max_length - 1 : -1]])[0])
        entry = {"files": files, "max_length": tokenizer.model_max_length,
                 "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id],
                 "padded": [f"{value:016x}" for value in padded]}
        if name == "sd1":
            golden["ids"] = [ids[1:-1] for ids in plain]
            entry["decoded"] = tokenizer.batch_decode([ids[1:-1] for ids in plain[:60]])
            # Every code point between two letters, hashed by rows of 256: too many to list.
            rows = []
            for row in range(0x1100):
                points = [p for p in range(row * 256, row * 256 + 256) if not 0xD800 <= p < 0xE000]
                text = " ".join(f"a{chr(p)}b" for p in points)
                rows.append(fnv(tokenizer(text, add_special_tokens=False).input_ids) & 0xFFFFFFFF)
            entry["code_points"] = "".join(f"{fnv(rows[i : i + 16]):016x}" for i in range(0, 0x1100, 16))
            tokenizer.save_pretrained(f"{OUT}/saved")  # tokenizer.json and tokenizer_config.json
        # Ids that differ from those of sd1, and the texts cut from those that are too long.
        entry["differing"] = {str(i): ids[1:-1] for i, ids in enumerate(plain) if ids[1:-1] != golden["ids"][i]}
        entry["cut"] = {str(i): text for i, text in enumerate(cut) if text}
        golden["folders"][name] = entry
        shutil.rmtree(folder)
    write(f"{OUT}/golden.json", golden)
    config = json.load(open(f"{OUT}/saved/tokenizer_config.json"))
    write(f"{OUT}/saved/tokenizer_config.json", {k: v for k, v in config.items() if not k.startswith(("is_local", "local_", "name_or"))})
    saved = json.load(open(f"{OUT}/saved/tokenizer.json", encoding="utf-8"))
    write(f"{OUT}/saved/tokenizer.json", saved)


if __name__ == "__main__":
    main()
