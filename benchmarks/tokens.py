"""The speed of Gemma's tokenizer, as a multiple of SentencePiece's and of Hugging Face tokenizers' in the same run.

    python benchmarks/tokens.py [model.gguf]

With a model file, it uses the file's vocabulary, and converts it for the other two. Without one, it trains a small vocabulary.
Times are CPU time; every row is one kind of text. At the end it prints the time to build each tokenizer, and its memory.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import sentencepiece
import tokenizers

from gemma_tools.tokens import GemmaTokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.vocabularies import corpus, sentencepiece_model, tokenizer_json

SIZE = 200_000
"""Characters of each kind of text."""
Encode = Callable[[str], object]


def kinds() -> dict[str, str]:
    """One text of each kind."""
    random = Random(3)
    source = Path(__file__).parents[1] / "src"
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted(source.rglob("*.py")))
    chinese = "".join(chr(random.randint(0x4E00, 0x9FA5)) for _ in range(SIZE))
    texts = {
        "mixed": "\n".join(corpus(11, 8000)),
        "code": code,
        "CJK in lines": "\n".join(chinese[i : i + 120] for i in range(0, SIZE, 120)),
        "CJK unbroken": chinese,
        "letters unbroken": "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=SIZE)),
        "one letter": "a" * SIZE,
    }
    return {name: (text * (SIZE // len(text) + 1))[:SIZE] for name, text in texts.items()}


def best(encode: Encode, text: str) -> float:
    """The lowest CPU time of three tries, in seconds, without a first try that is not counted."""
    encode(text)
    times = []
    for _ in range(3):
        start = time.process_time()
        encode(text)
        times.append(time.process_time() - start)
    return min(times)


def built(statement: str) -> tuple[float, float]:
    """CPU seconds of `statement` in a separate process, without imports, and the MiB that it keeps (on Linux)."""
    program = f"""
import gc, os, time
import sentencepiece, tiktoken, tokenizers
import gemma_tools.tokens.merging
from gemma_tools.tokens import GemmaTokenizer
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4 if os.path.exists("/proc/self/statm") else 0
before, start = resident(), time.process_time()
kept = {statement}
kept.encode("x")
seconds = time.process_time() - start
print(seconds, resident() - before)
"""
    seconds, kib = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(kib) / 1024


def main() -> None:
    """Print the rows."""
    ours_file, piece_file, json_file = sentencepiece_model(), sentencepiece_model(), tokenizer_json()
    if len(sys.argv) > 1:
        from support.real import as_sentencepiece, as_tokenizer_json

        ours_file = Path(sys.argv[1])
        piece_file, json_file = as_sentencepiece(ours_file), as_tokenizer_json(ours_file)
    ours = GemmaTokenizer.from_file(ours_file).encode
    piece = sentencepiece.SentencePieceProcessor(model_file=str(piece_file)).encode
    face = tokenizers.Tokenizer.from_file(str(json_file)).encode
    print(f"{'text':18} {'us/char':>8} {'x of sentencepiece':>19} {'x of tokenizers':>16}")
    for name, text in kinds().items():
        mine, theirs, other = best(ours, text), best(piece, text), best(face, text)
        print(f"{name:18} {mine / len(text) * 1e6:8.2f} {theirs / mine:19.2f} {other / mine:16.2f}")
    for name, statement in (
        ("gemma_tools", f"GemmaTokenizer.from_file({str(ours_file)!r})"),
        ("sentencepiece", f"sentencepiece.SentencePieceProcessor(model_file={str(piece_file)!r})"),
        ("tokenizers", f"tokenizers.Tokenizer.from_file({str(json_file)!r})"),
    ):
        seconds, mib = built(statement)
        print(f"build, {name:13} {seconds:6.2f} s {mib:6.0f} MiB")


if __name__ == "__main__":
    main()
