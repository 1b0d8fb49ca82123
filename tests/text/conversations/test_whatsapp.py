from datetime import datetime

import pytest

from sharedllm.text.conversations import recognise

EVENING = {
    "iOS, British": "[13/03/2024, 21:05:33] {}: {}",
    "iOS, American": "[3/13/24, 9:05:33\u202fPM] {}: {}",
    "iOS, German": "[13.03.24, 21:05:33] {}: {}",
    "iOS, Japanese": "[2024/03/13 21:05:33] {}: {}",
    "iOS, Korean": "[2024. 3. 13. 오후 9:05:33] {}: {}",
    "Android, British": "13/03/2024, 21:05 - {}: {}",
    "Android, American": "3/13/24, 9:05\u202fPM - {}: {}",
    "Android, German": "13.03.24, 21:05 - {}: {}",
    "Android, Spanish": "13/3/2024, 9:05 p.\u00a0m. - {}: {}",
    "Android, Canadian": "2024-03-13, 9:05 p.m. - {}: {}",
    "Android, South African": "2024/03/13, 21:05 - {}: {}",
    "Android, Chinese": "2024/3/13 下午9:05 - {}: {}",
    "Android, Finnish": "13.3.2024 klo 21.05 - {}: {}",
    "Android, Danish": "13.03.2024 21.05 - {}: {}",
    "Android, Egyptian": "١٣\u200f/٣\u200f/٢٠٢٤، ٩:٠٥ م - {}: {}",
    "Android, Hindi": "१३/०३/२४, ९:०५ pm - {}: {}",
    "Android, Vietnamese": "21:05, 13/03/2024 - {}: {}",
    "Android, Portuguese": "13/03/24 às 21:05 - {}: {}",
    "Android, Bulgarian": "13.03.2024 г., 21:05 - {}: {}",
    "Android, Greek": "13/3/2024, 9:05 μ.μ. - {}: {}",
    "Android, Hungarian": "2024. 03. 13. 21:05 - {}: {}",
    "Android, Croatian": "13.03.2024. 21:05 - {}: {}",
    "Android, Dutch": "13-03-2024 21:05 - {}: {}",
    "Android, Thai": "13/3/2567 21:05 - {}: {}",
    "old iOS": "13/03/24 21:05:33: {}: {}",
}


@pytest.mark.parametrize("spelling", EVENING.values(), ids=EVENING.keys())
def test_authors_texts_and_times_are_read_in_the_spelling_of_any_phone(spelling):
    said = [("Alice", "hello"), ("+49 151 2345678", "well: hi\n\n13/03 or 14/03?"), ("Alice", "14.03. it is")]
    text = "\ufeff" + "\n".join(spelling.format(author, words) for author, words in said)
    (document,) = recognise("anything", text.encode())
    assert [(turn.author, turn.text) for turn in document.turns] == said
    assert {turn.when.replace(second=0) for turn in document.turns} == {datetime(2024, 3, 13, 21, 5)}
    assert document.kind == "WhatsApp chat" and not document.doubts
