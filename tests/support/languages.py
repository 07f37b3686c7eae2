"""Texts of many kinds, to compare tokenizers and estimates by."""

# ruff: noqa: E501

from __future__ import annotations

import unicodedata
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
PROSE = {
    "English": (
        "The harbour office opens at seven. Boats that arrive before then wait at the outer wall, where the water is deep enough.",
        "She asked whether the report had been sent, and he answered that nobody had told him about any report until yesterday.",
        "To bake the bread, mix flour, water, salt and yeast; let it rise for two hours, fold it twice, and bake it until brown.",
        "International cooperation on environmental regulation has developed considerably, notwithstanding recurrent disagreements.",
    ),
    "French": (
        "Le bateau est arrivé à l'île après une nuit très agitée; les pêcheurs étaient déjà levés et préparaient leurs filets.",
    ),
    "German": (
        "Die Überprüfung der Straßenverhältnisse übernimmt während der Wintermonate die zuständige Gemeindeverwaltung.",
    ),
    "Spanish": ("Mañana por la mañana saldrá el tren más rápido; los niños querían saber cuántas horas duraría el viaje.",),
    "Polish": ("Wczoraj wieczorem wróciliśmy późno, ponieważ źle działała sygnalizacja i wszystkie pociągi były opóźnione.",),
    "Vietnamese": ("Hôm nay trời đẹp, chúng tôi đi dạo dọc bờ biển và nói chuyện về những chuyến đi sắp tới của mình.",),
    "Turkish": ("Yarın sabah erkenden yola çıkacağız, çünkü öğleden sonra şehirde çok yoğun bir trafik olacağını söylediler.",),
    "Russian": ("Завтра утром мы поедем на рынок, чтобы купить свежую рыбу и овощи, а вечером приготовим ужин для друзей.",),
    "Greek": ("Το πρωί ο καιρός ήταν καλός, αλλά το απόγευμα άρχισε να βρέχει και γυρίσαμε γρήγορα στο σπίτι.",),
    "Arabic": ("وصلنا إلى المدينة في المساء وكان السوق مزدحما بالناس الذين يشترون الخبز والفواكه قبل العيد.",),
    "Hebrew": ("בבוקר יצאנו לטיול ארוך לאורך החוף, ובערב חזרנו הביתה עייפים אבל שמחים מאוד.",),
    "Hindi": ("कल सुबह हम बाजार जाएंगे और ताजी सब्जियां खरीदेंगे, फिर शाम को परिवार के साथ खाना बनाएंगे।",),
    "Bengali": ("আগামীকাল সকালে আমরা নদীর ধারে হাঁটতে যাব এবং বিকেলে বন্ধুদের সঙ্গে চা খাব।",),
    "Tamil": ("நாளை காலை நாங்கள் கடற்கரைக்குச் சென்று மாலையில் வீட்டிற்குத் திரும்புவோம்.",),
    "Thai": ("พรุ่งนี้เช้าเราจะไปตลาดเพื่อซื้อปลาสดและผัก แล้วตอนเย็นจะทำอาหารให้เพื่อนๆ",),
    "Georgian": ("ხვალ დილით ბაზარში წავალთ და ახალ თევზს ვიყიდით, საღამოს კი მეგობრებს მოვუმზადებთ ვახშამს.",),
    "Japanese": ("明日の朝、市場へ行って新鮮な魚と野菜を買い、夜は友達のために夕食を作るつもりです。",),
    "Korean": ("내일 아침에는 시장에 가서 신선한 생선과 채소를 사고 저녁에는 친구들을 위해 요리할 것입니다.",),
    "Chinese": ("明天早上我们去市场买新鲜的鱼和蔬菜，晚上给朋友们做饭，然后一起在河边散步。",),
}
"""Sentences of many languages, written for this test."""
ODD = (
    *("YYYY", " YYYY", "yyyy", "diffformul", "::::::::", "> </", ">", "<b>", "</s>", "<start_of_image>", "[multimodal]"),
    *(
        "<unused40>",
        "<start_of_turn>",
        "<bos>",
        "\u2581\u2581",
        "\u2581",
        "\r\n",
        "\x00",
        "\x1b",
        "é",
        "e\u0301",
        "👨‍👩‍👧",
        "🇵🇹",
    ),
    *(
        "hello",
        "Привет",
        "日本語",
        "العربية",
        "हिन्दी",
        "ไทย",
        "12345",
        "3.14",
        "def f(x):\n    return",
        '{"a": [1, 2]}',
        "ǆ",
        "ﬁ",
    ),
    *(" " * n for n in (2, 3, 16, 31, 32, 70)),
    *("\n" * n for n in (1, 2, 3, 31, 32)),
    *("\t" * n for n in (1, 2, 31, 33)),
)
"""What tokenizers are known to read differently."""


def mixtures(count: int, seed: int = 3) -> list[str]:
    """Odd pieces one after another."""
    random = Random(seed)
    return [
        "".join(random.choice(ODD) + random.choice(("", " ", "\n")) for _ in range(random.randint(1, 9))) for _ in range(count)
    ]


def scripts(count: int, seed: int = 4) -> list[str]:
    """Characters of all scripts, some texts from one block of Unicode and some from everywhere."""
    random = Random(seed)
    chars = [c for c in map(chr, range(0x20, 0x30000)) if unicodedata.category(c) not in ("Cs", "Cn", "Co", "Cc")]
    texts = []
    for number in range(count):
        start = random.randrange(len(chars) - 200)
        pool = chars if number % 2 else chars[start : start + 200]
        texts.append("".join(random.choice([*random.choices(pool, k=6), " "]) for _ in range(random.randint(1, 60))))
    return texts


def code(count: int = 120) -> list[str]:
    """Pieces of the project's own source."""
    files = sorted((ROOT / "src").rglob("*.py"))
    return [file.read_text(encoding="utf-8")[:3000] for file in files[:count] if file.stat().st_size > 200]


def sentences(count: int, seed: int = 5) -> list[tuple[str, str]]:
    """Language and text: each language's sentences, cut and joined in many ways."""
    random = Random(seed)
    out = []
    for number in range(count):
        language = list(PROSE)[number % len(PROSE)]
        text = random.choice((" ", "\n", "\n\n")).join(random.choices(PROSE[language], k=random.randint(1, 4)))
        start = random.randrange(len(text) // 3)
        out.append((language, text[start : start + random.randint(60, 600)]))
    return out
