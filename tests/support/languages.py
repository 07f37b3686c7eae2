"""Texts of many kinds, to compare tokenizers and estimates by."""

# ruff: noqa: E501

from __future__ import annotations

import base64
import json
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
        "Je ne sais pas encore si je viendrai demain, mais je t'appelle ce soir pour te le dire.",
        "Pour installer le logiciel, ouvrez le terminal, tapez la commande ci-dessous et attendez la fin du téléchargement.",
        "Le gouvernement a annoncé jeudi une baisse des impôts pour les petites entreprises à partir du mois de janvier.",
    ),
    "German": (
        "Die Überprüfung der Straßenverhältnisse übernimmt während der Wintermonate die zuständige Gemeindeverwaltung.",
        "Kannst du mir bitte sagen, wann der nächste Zug nach Hamburg fährt und von welchem Gleis?",
        "Klicken Sie auf das Zahnrad oben rechts, um die Einstellungen zu öffnen und das Passwort zu ändern.",
        "Die Mannschaft hat gestern Abend zum dritten Mal in Folge verloren; der Trainer wollte sich dazu nicht äußern.",
    ),
    "Spanish": (
        "Mañana por la mañana saldrá el tren más rápido; los niños querían saber cuántas horas duraría el viaje.",
        "¿Puedes decirme a qué hora sale el próximo autobús para el centro de la ciudad?",
        "Haga clic en el botón de la derecha para guardar los cambios y cerrar la ventana.",
        "La empresa presentó ayer sus resultados: las ventas crecieron un doce por ciento respecto al año pasado.",
    ),
    "Polish": (
        "Wczoraj wieczorem wróciliśmy późno, ponieważ źle działała sygnalizacja i wszystkie pociągi były opóźnione.",
        "Czy możesz mi powiedzieć, o której odjeżdża następny autobus do centrum miasta?",
        "Kliknij przycisk po prawej stronie, aby zapisać zmiany i zamknąć okno.",
        "Firma ogłosiła wczoraj wyniki: sprzedaż wzrosła o dwanaście procent w porównaniu z ubiegłym rokiem.",
    ),
    "Vietnamese": (
        "Hôm nay trời đẹp, chúng tôi đi dạo dọc bờ biển và nói chuyện về những chuyến đi sắp tới của mình.",
        "Bạn có thể cho tôi biết mấy giờ xe buýt tiếp theo đi vào trung tâm thành phố không?",
        "Nhấn vào nút bên phải để lưu các thay đổi rồi đóng cửa sổ lại.",
        "Công ty hôm qua công bố kết quả kinh doanh: doanh số tăng mười hai phần trăm so với năm ngoái.",
    ),
    "Turkish": (
        "Yarın sabah erkenden yola çıkacağız, çünkü öğleden sonra şehirde çok yoğun bir trafik olacağını söylediler.",
        "Şehir merkezine giden bir sonraki otobüsün saat kaçta kalktığını söyleyebilir misin?",
        "Değişiklikleri kaydetmek ve pencereyi kapatmak için sağdaki düğmeye tıklayın.",
        "Şirket dün sonuçlarını açıkladı: satışlar geçen yıla göre yüzde on iki arttı.",
    ),
    "Russian": (
        "Завтра утром мы поедем на рынок, чтобы купить свежую рыбу и овощи, а вечером приготовим ужин для друзей.",
        "Вы не подскажете, во сколько отправляется следующий автобус до центра города?",
        "Нажмите кнопку справа, чтобы сохранить изменения и закрыть окно.",
        "Компания вчера объявила результаты: продажи выросли на двенадцать процентов по сравнению с прошлым годом.",
    ),
    "Greek": (
        "Το πρωί ο καιρός ήταν καλός, αλλά το απόγευμα άρχισε να βρέχει και γυρίσαμε γρήγορα στο σπίτι.",
        "Μπορείς να μου πεις τι ώρα φεύγει το επόμενο λεωφορείο για το κέντρο της πόλης;",
        "Κάντε κλικ στο κουμπί στα δεξιά για να αποθηκεύσετε τις αλλαγές και να κλείσετε το παράθυρο.",
        "Η εταιρεία ανακοίνωσε χθες τα αποτελέσματά της: οι πωλήσεις αυξήθηκαν δώδεκα τοις εκατό.",
    ),
    "Arabic": (
        "وصلنا إلى المدينة في المساء وكان السوق مزدحما بالناس الذين يشترون الخبز والفواكه قبل العيد.",
        "هل يمكنك أن تخبرني متى تنطلق الحافلة التالية إلى وسط المدينة؟",
        "انقر على الزر الموجود على اليمين لحفظ التغييرات وإغلاق النافذة.",
        "أعلنت الشركة أمس عن نتائجها: ارتفعت المبيعات بنسبة اثني عشر في المئة مقارنة بالعام الماضي.",
    ),
    "Hebrew": (
        "בבוקר יצאנו לטיול ארוך לאורך החוף, ובערב חזרנו הביתה עייפים אבל שמחים מאוד.",
        "אתה יכול להגיד לי באיזו שעה יוצא האוטובוס הבא למרכז העיר?",
        "לחצו על הכפתור מימין כדי לשמור את השינויים ולסגור את החלון.",
        "החברה פרסמה אתמול את תוצאותיה: המכירות עלו בשנים עשר אחוזים לעומת השנה שעברה.",
    ),
    "Hindi": (
        "कल सुबह हम बाजार जाएंगे और ताजी सब्जियां खरीदेंगे, फिर शाम को परिवार के साथ खाना बनाएंगे।",
        "क्या आप मुझे बता सकते हैं कि शहर के केंद्र के लिए अगली बस कितने बजे जाती है?",
        "परिवर्तन सहेजने और विंडो बंद करने के लिए दाईं ओर के बटन पर क्लिक करें।",
        "कंपनी ने कल अपने नतीजे घोषित किए: बिक्री पिछले साल की तुलना में बारह प्रतिशत बढ़ी।",
    ),
    "Bengali": (
        "আগামীকাল সকালে আমরা নদীর ধারে হাঁটতে যাব এবং বিকেলে বন্ধুদের সঙ্গে চা খাব।",
        "শহরের কেন্দ্রে যাওয়ার পরের বাসটি কয়টায় ছাড়বে, আপনি কি বলতে পারেন?",
        "পরিবর্তনগুলি সংরক্ষণ করতে এবং উইন্ডোটি বন্ধ করতে ডানদিকের বোতামে ক্লিক করুন।",
        "কোম্পানিটি গতকাল তাদের ফলাফল ঘোষণা করেছে: বিক্রি গত বছরের তুলনায় বারো শতাংশ বেড়েছে।",
    ),
    "Tamil": (
        "நாளை காலை நாங்கள் கடற்கரைக்குச் சென்று மாலையில் வீட்டிற்குத் திரும்புவோம்.",
        "நகர மையத்திற்கு அடுத்த பேருந்து எத்தனை மணிக்கு புறப்படும் என்று சொல்ல முடியுமா?",
        "மாற்றங்களைச் சேமித்து சாளரத்தை மூட வலதுபுறம் உள்ள பொத்தானைக் கிளிக் செய்யவும்.",
        "நிறுவனம் நேற்று தனது முடிவுகளை அறிவித்தது: விற்பனை கடந்த ஆண்டை விட பன்னிரண்டு சதவீதம் அதிகரித்துள்ளது.",
    ),
    "Thai": (
        "พรุ่งนี้เช้าเราจะไปตลาดเพื่อซื้อปลาสดและผัก แล้วตอนเย็นจะทำอาหารให้เพื่อนๆ",
        "คุณช่วยบอกได้ไหมว่ารถบัสคันต่อไปที่ไปใจกลางเมืองออกกี่โมง",
        "คลิกปุ่มทางขวาเพื่อบันทึกการเปลี่ยนแปลงแล้วปิดหน้าต่าง",
        "เมื่อวานนี้บริษัทประกาศผลประกอบการ ยอดขายเพิ่มขึ้นร้อยละสิบสองเมื่อเทียบกับปีที่แล้ว",
    ),
    "Georgian": (
        "ხვალ დილით ბაზარში წავალთ და ახალ თევზს ვიყიდით, საღამოს კი მეგობრებს მოვუმზადებთ ვახშამს.",
        "შეგიძლიათ მითხრათ, რომელ საათზე გადის შემდეგი ავტობუსი ქალაქის ცენტრში?",
        "ცვლილებების შესანახად და ფანჯრის დასახურად დააჭირეთ ღილაკს მარჯვნივ.",
        "კომპანიამ გუშინ შედეგები გამოაცხადა: გაყიდვები შარშანდელთან შედარებით თორმეტი პროცენტით გაიზარდა.",
    ),
    "Japanese": (
        "明日の朝、市場へ行って新鮮な魚と野菜を買い、夜は友達のために夕食を作るつもりです。",
        "市内の中心部へ行く次のバスは何時に出発するか教えていただけますか。",
        "変更を保存してウィンドウを閉じるには、右側のボタンをクリックしてください。",
        "同社は昨日、決算を発表し、売上高は前年に比べて十二パーセント増加したと述べた。",
    ),
    "Korean": (
        "내일 아침에는 시장에 가서 신선한 생선과 채소를 사고 저녁에는 친구들을 위해 요리할 것입니다.",
        "시내 중심가로 가는 다음 버스가 몇 시에 출발하는지 알려 주시겠어요?",
        "변경 사항을 저장하고 창을 닫으려면 오른쪽에 있는 버튼을 클릭하세요.",
        "그 회사는 어제 실적을 발표했는데, 매출이 작년보다 십이 퍼센트 늘었다고 한다.",
    ),
    "Chinese": (
        "明天早上我们去市场买新鲜的鱼和蔬菜，晚上给朋友们做饭，然后一起在河边散步。",
        "请问下一班去市中心的公共汽车几点发车？在哪个站台上车？",
        "请点击右侧的按钮保存更改，然后关闭窗口。如果出现错误，请重新启动程序。",
        "该公司昨天公布了业绩，销售额比去年增长了百分之十二，利润也创下了新高。",
    ),
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


def data(count: int, seed: int = 6) -> list[tuple[str, str]]:
    """Kind and text of what is no prose: JSON, tables, logs, identifiers, base64."""
    random = Random(seed)
    kinds = {"JSON": _json, "tables": _table, "logs": _log, "identifiers": _identifiers, "base64": _base64}
    return [(kind, make(random)) for kind, make in kinds.items() for _ in range(count)]


def _json(random: Random) -> str:
    rows = [
        {
            "id": random.randrange(10**6),
            "name": random.choice(("harbour wall", "north gate", "Ana")),
            "open": random.random() < 0.5,
            "depth_in_metres": round(random.uniform(1, 40), 2),
            "updatedAt": f"2026-0{random.randint(1, 9)}-1{random.randint(0, 9)}T08:30:00Z",
        }
        for _ in range(random.randint(1, 6))
    ]
    return json.dumps({"rows": rows, "next": None}, indent=random.choice((None, 2)))


def _table(random: Random) -> str:
    rows = [
        (random.choice(("Brest", "Lisbon", "Oslo")), f"{random.uniform(0, 90):.1f}", str(random.randrange(5000)))
        for _ in range(random.randint(3, 12))
    ]
    join = random.choice((" | ", ",", "\t"))
    return "\n".join(join.join(row) for row in (("port", "depth", "boats"), *rows))


def _log(random: Random) -> str:
    said = ("opened gate %d in %d ms", "no answer from 10.0.%d.%d, trying again", "job %d: %d rows written")
    return "\n".join(
        f"2026-03-1{random.randint(0, 9)} 07:{random.randint(10, 59)}:{random.randint(10, 59)},{random.randint(100, 999)} "
        f"{random.choice(('INFO', 'WARNING', 'DEBUG'))} {random.choice(('tide', 'server.http'))}: "
        + random.choice(said)
        % (random.randrange(200), random.randrange(200))
        for _ in range(random.randint(2, 9))
    )


def _identifiers(random: Random) -> str:
    words = ("get", "tide", "depth", "harbour", "name", "max", "index", "by", "from", "list", "state", "url")
    join = (lambda w: "_".join(w), lambda w: "".join(map(str.title, w)), lambda w: "-".join(w), lambda w: ".".join(w))
    return " ".join(random.choice(join)(random.sample(words, random.randint(2, 4))) for _ in range(random.randint(6, 30)))


def _base64(random: Random) -> str:
    return base64.b64encode(random.randbytes(random.randint(45, 600))).decode()
