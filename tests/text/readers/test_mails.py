"""Of mails what their senders wrote: by the ways in which programs quote, forward and sign, in several languages."""

import re
from email.message import EmailMessage

import pytest
from tests.text.readers.made_files import mail

from sharedllm.errors import TextError
from sharedllm.text.choices import Choices
from sharedllm.text.readers import read_documents
from sharedllm.text.readers.mail_quotes import own_words
from sharedllm.text.reading import read_user

# What is between <o> and </o> is the sender's own, everything else somebody else's or a program's.
MAILS = {
    "gmail, above": """<o>Hi Bob,

sure, Tuesday works.

- one thing: bring the papers
- another: no phones

Thanks, see you then.
Alice</o>

On Mon, Jan 1, 2024 at 10:00 AM Bob B. <bob@example.com> wrote:

> Can we meet Tuesday?
> Bob
""",
    "between the lines": """> Can we meet Tuesday?

<o>Yes.</o>

> And where?
> In town?

<o>At the office.</o>

--\x20
Alice Miller
+49 123 456
""",
    "outlook, german": """<o>Klar, machen wir.

Gruß
Alice</o>

Von: Bob Berger <bob@example.com>
Gesendet: Montag, 1. Januar 2024 10:00
An: Alice Miller <alice@example.com>
Betreff: Treffen

Können wir uns treffen?
""",
    "outlook, english, with a line": """<o>Fine with me.</o>

________________________________
From: Bob Berger <bob@example.com>
Sent: Monday, January 1, 2024 10:00 AM
To: Alice Miller
Subject: Meeting

Can we meet?
""",
    "outlook, french": """<o>D'accord pour mardi.</o>

De : Bob Berger <bob@example.com>
Envoyé : lundi 1 janvier 2024 10:00
À : Alice Miller
Objet : Rendez-vous

On peut se voir ?
""",
    "old outlook": """<o>Fine with me.</o>

-----Original Message-----
From: Bob [mailto:bob@example.com]
Sent: Monday, January 01, 2024 10:00 AM
To: Alice
Subject: RE: x

text of bob
""",
    "gmail, forwarded": """<o>Look at this!</o>

---------- Forwarded message ---------
From: Bob <bob@example.com>
Date: Mon, 1 Jan 2024 at 10:00
Subject: news
To: Alice <alice@example.com>

Big news text
""",
    "apple, forwarded": """<o>For you.</o>

Begin forwarded message:

From: Bob <bob@example.com>
Subject: news
Date: 1 January 2024 at 10:00:00 CET
To: Alice <alice@example.com>

Big news text
""",
    "telephone": """<o>OK.</o>

Sent from my iPhone

> On 1 Jan 2024, at 10:00, Bob <bob@x.org> wrote:
>\x20
> hello
""",
    "telephone, german": """<o>Bin gleich da.</o>

Von meinem iPhone gesendet

> Am 01.01.2024 um 10:00 schrieb Bob <bob@x.org>:
>\x20
> wo bist du
""",
    "gmail, french": """<o>Merci beaucoup !</o>

Le lun. 1 janv. 2024 à 10:00, Bob B. <bob@example.com> a écrit :

> Salut
""",
    "gmail, spanish": """<o>Perfecto, nos vemos.</o>

El lun, 1 ene 2024 a las 10:00, Bob B. (<bob@example.com>) escribió:

> ¿Quedamos el martes?
""",
    "gmail, russian": """<o>Хорошо, приду.</o>

пн, 1 янв. 2024 г. в 10:00, Bob <bob@example.com>:

> Придёшь?
""",
    "gmail, japanese": """<o>了解しました。</o>

2024年1月1日(月) 10:00 Bob <bob@example.com>:

> 火曜日に会えますか。
""",
    "thunderbird, german, below": """Am 01.01.24 um 10:00 schrieb Bob:
> Hallo
<o>Hallo zurück!
Ich komme um 10:30.</o>
""",
    "lead-in over two lines": """<o>Will do.</o>

On Monday, January 1, 2024 at 10:00:00 AM GMT+1, Bob Berger
<bob.berger@example.com> wrote:

> Please send it.
""",
    "lead-in below what is answered, over two lines": """<o>Hello</o>
02.04.2012 14:20 пользователь "bob@example.com" <
bob@example.com> написал:

> Hi
""",
    "list footer": """<o>I think the patch is fine.</o>
_______________________________________________
project mailing list
project@lists.example.org
https://lists.example.org/listinfo/project
""",
    "signed with PGP": """-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

<o>I can confirm that.</o>

-----BEGIN PGP SIGNATURE-----

iQIzBAEBCgAdFiEEh0c9b2Nx0123456789abcdefABCDEF+/iQIzBAEBCgAdFi
=abcd
-----END PGP SIGNATURE-----
""",
    "no quote, but colons and times": """<o>Dear all,
please note:
Time: 10:00
Place: Room 5
Host: me

As Bob wrote:
we are late.

See you at 12:30:
bring cake.</o>
""",
    "a dash, a line and a greater-than in the text": """<o>Three things -- in order:
-----
x > y, of course
- and a list
* more</o>
""",
}


def parts(marked):
    own = re.findall("<o>(.*?)</o>", marked, re.DOTALL)
    return " ".join(own).split(), re.sub("</?o>", "", marked)


@pytest.mark.parametrize("marked", MAILS.values(), ids=MAILS)
def test_own_lines_stay_and_all_others_are_counted(marked):
    own, body = parts(marked)
    found, left_out = own_words(body)
    assert found.split() == own
    assert abs(left_out.total() - (len(body) - len(found))) <= 0.1 * len(body) + 4


def read(tmp_path, data, name="m.eml"):
    (tmp_path / name).write_bytes(data)
    unread = []
    documents = list(read_documents([tmp_path / name], unread=unread.append))
    return documents, unread


def page(html):
    message = EmailMessage()
    message["From"], message["Date"] = "Alice <a@x.org>", "Mon, 01 Jan 2024 10:00:00 +0000"
    message.set_content(html, subtype="html")
    return message.as_bytes()


PAGES = {
    "gmail": "<div dir=ltr>Own words.</div><br><div class='gmail_quote'><div>On Mon, Bob wrote:<br></div>"
    "<blockquote class=gmail_quote>theirs</blockquote></div>",
    "outlook": "<div>Own words.</div><hr><div id=divRplyFwdMsg><b>From:</b> Bob &lt;bob@x.org&gt;<br>"
    "<b>Sent:</b> Monday, January 1, 2024 10:00 AM<br><b>To:</b> Alice<br><b>Subject:</b> Hi</div><div>theirs</div>",
    "apple": "<div>Own words.</div><div><br><blockquote type=cite><div>On 1 Jan 2024, at 10:00, Bob wrote:</div>theirs"
    "</blockquote></div>",
    "thunderbird": "<p>Own words.</p><div class=moz-cite-prefix>On 01.01.24 10:00, Bob wrote:<br></div>"
    "<blockquote type=cite cite='mid:x'>theirs</blockquote>",
}


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_of_mails_that_are_pages_the_quotes_of_the_usual_programs_are_left_out(html, tmp_path):
    (document,), unread = read(tmp_path, page(html))
    assert unread == []
    assert document.turns[0].text == "Own words."


@pytest.mark.parametrize("charset", ["iso-8859-1", "us-ascii", "windows-1252"])
def test_bytes_that_are_utf_8_are_read_so_whatever_the_mail_says_and_others_as_it_says(charset, tmp_path):
    head = f"From: a@x.org\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n".encode()
    (document,), _ = read(tmp_path, head + "Schöne Grüße ✿".encode())
    assert document.turns[0].text == "Schöne Grüße ✿"
    if charset != "us-ascii":
        (document,), _ = read(tmp_path, head + "Schöne Grüße".encode("latin-1"))
        assert document.turns[0].text == "Schöne Grüße"


def test_a_line_of_letters_that_are_signs_too_costs_what_it_is_long():
    line = "क" * 30_000
    assert own_words(f"{line}\n" * 20)[0].split() == [line] * 20


@pytest.mark.slow
def test_headers_below_a_broken_line_are_no_words_of_the_sender(tmp_path):
    broken = "From: a@x.org\nSubject: =?x\nÜber uns?=\nContent-Type: text/html\nX-Spam: 7\n\n<p>Own <b>words</b>.</p>\n"
    (document,), _ = read(tmp_path, broken.encode("latin-1"))
    assert document.turns[0].text == "Own words."
    (document,), _ = read(tmp_path, b"From: a@x.org\nOwn words and no line between.\nPS: more\n\nOn it goes.\n")
    assert document.turns[0].text.startswith("Own words and no line between.")


def test_a_person_has_one_name_in_a_mailbox_and_its_owner_is_told_by_where_it_was_delivered(tmp_path):
    box = b"".join(
        b"From x Mon Jan  1 09:00:00 2024\n" + each + b"\n"
        for each in (
            mail("Second.", sender="alice@example.org", hour=11, attachment=False, Delivered_To="ALICE@example.org"),
            mail("First.", sender='"Alice Miller" <Alice@Example.org>', attachment=False),
            mail("Third.", sender="=?utf-8?q?J=C3=BCrgen_Gro=C3=9F?= <j@x.org>", hour=12, attachment=False),
        )
    )
    (document,), _ = read(tmp_path, box, "inbox")
    assert [(turn.author, turn.text) for turn in document.turns] == [
        ("Alice Miller", "First."),
        ("Alice Miller", "Second."),
        ("Jürgen Groß", "Third."),
    ]
    assert document.turns[0].when.isoformat() == "2024-01-01T09:00:00+01:00"
    assert (document.kind, document.me) == ("mailbox", "Alice Miller")
    assert document.left_out["mail headers"] > 500


@pytest.mark.slow
@pytest.mark.parametrize("delivered", [{"Delivered_To": "alice@x.org"}, {}])
def test_of_mails_that_only_others_wrote_to_its_owner_none_is_learned_and_it_is_asked_for_whom(tmp_path, delivered):
    mails = [mail(f"{each}. By Bob.", sender="Bob <bob@x.org>", attachment=False, **delivered) for each in range(3)]
    if not delivered:
        mails.append(mail("\n", sender="Alice <alice@x.org>", attachment=False, X_Gmail_Labels="Sent"))
    path = tmp_path / "box.mbox"
    path.write_bytes(b"".join(b"From x Mon Jan  1 09:00:00 2024\n" + each + b"\n" for each in mails))
    with pytest.raises(TextError, match=r"alice@x.org, who wrote nothing in it.*--me"):
        read_user("alice", [path])
    assert "By Bob." in read_user("bob", [path], choices=Choices(me=("Bob",))).text


@pytest.mark.slow
def test_signatures_that_nothing_sets_apart_are_left_out_of_a_mailbox_and_of_mails_in_files_alike(tmp_path):
    said = [f"Number {number} is done.\n\n{end}" for number, end in enumerate(["Best", "Thanks!", "See you", "LG"])]
    signed = [f"{each}\nAlice Miller\nZebra Lane 7\n+49 221 4567890\n" for each in said]
    mails = [mail(body, hour=number, attachment=False) for number, body in enumerate(signed)]
    (tmp_path / "box.mbox").write_bytes(b"".join(b"From x Mon Jan  1 09:00:00 2024\n" + each + b"\n" for each in mails))
    (tmp_path / "mails").mkdir()
    for number, each in enumerate(mails):
        (tmp_path / "mails" / f"{number}.eml").write_bytes(each)
    for source in ("box.mbox", "mails"):
        text = read_user("alice", [tmp_path / source])
        assert [passage.text for passage in text.passages] == said
        assert text.left_out["signatures"] == sum(map(len, signed)) - sum(map(len, said)) - len(said)


def test_a_mail_that_is_nothing_but_another_is_forwarded_text(tmp_path):
    data = b"From: a@x.org\nContent-Type: message/rfc822\n\nFrom: b@x.org\nSubject: news\n\nNothing of mine.\n"
    documents, (unread,) = read(tmp_path, data)
    assert documents == []
    assert "characters of forwarded text" in unread.error.message


def test_a_folder_in_maildir_is_one_mailbox(tmp_path):
    for part in ("cur", "new", "tmp"):
        (tmp_path / "Mail" / part).mkdir(parents=True)
    (tmp_path / "Mail" / "cur" / "1:2,S").write_bytes(mail("One.", hour=8))
    (tmp_path / "Mail" / "new" / "2").write_bytes(mail("Two.", hour=9))
    (tmp_path / "Mail" / "tmp" / "3").write_bytes(mail("Not there yet."))
    (document,) = read_documents([tmp_path], unread=print)
    assert document.source == str(tmp_path / "Mail")
    assert [turn.text.strip() for turn in document.turns] == ["One.", "Two."]
    assert document.left_out["attachments"] > 100_000


def test_links_out_of_a_folder_in_maildir_are_not_followed(tmp_path):
    for part in ("given/Mail/cur", "given/Mail/tmp", "elsewhere"):
        (tmp_path / part).mkdir(parents=True)
    for name in ("1", "2", "3"):
        (tmp_path / "elsewhere" / name).write_bytes(mail("Not given."))
    (tmp_path / "given" / "Mail" / "cur" / "1").write_bytes(mail("Given."))
    (tmp_path / "given" / "Mail" / "cur" / "2").symlink_to(tmp_path / "elsewhere" / "2")
    (tmp_path / "given" / "Mail" / "new").symlink_to(tmp_path / "elsewhere")
    unread = []
    (document,) = read_documents([tmp_path / "given"], unread=unread.append)
    assert [turn.text.strip() for turn in document.turns] == ["Given."]
    assert ["is a link to a file outside of the folder" in each.error.message for each in unread] == [True] * 3


def test_lines_that_only_a_width_had_broken_are_joined(tmp_path):
    data = b"From: a@x.org\nContent-Type: text/plain; format=flowed\n\nOne \ntwo \nthree.\n\nFour.\n-- \nAlice\n"
    (document,), _ = read(tmp_path, data)
    assert document.turns[0].text == "One two three.\n\nFour."


@pytest.mark.slow
def test_a_mail_in_any_encoding_that_it_names_is_read(tmp_path):
    for number, charset in enumerate(("iso-8859-1", "koi8-r", "iso-2022-jp", "utf-7")):
        text = {"koi8-r": "Привет, как дела?", "iso-2022-jp": "こんにちは"}.get(charset, "Grüße")
        head = f"From: a@x.org\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n"
        (document,), _ = read(tmp_path, head.encode() + text.encode(charset), f"{number}.eml")
        assert document.turns[0].text == text


@pytest.mark.parametrize(
    "before",
    [
        "------- Original Message -------\nOn Saturday, March 9th, 2024 at 8:03 AM, Bob <bob@example.org> wrote:\n\n> ",
        "-------- Original-Nachricht --------\nAm 9. März 2024, 08:03, schrieb Bob <bob@example.org>:\n\n",
        "\u202bבתאריך שבת, 9 במרץ 2024 ב-8:03 מאת \u202aBob\u202c\u200f <\u202ab@x.org\u202c\u200f>:\u202c\n\n> ",
        "W dniu 9.03.2024 o\u00a008:03, Bob pisze:\n",
        "Début du message réexpédié :\n\nDe: Bob <b@x.org>\nObjet: Ladder\nDate: 9 mars 2024\nÀ: a@x.org\n\n",
        *(
            f"{device}\n\nOn 2024-03-09 08:03, Bob wrote:\n> "
            for device in (
                "iPhone'umdan gönderildi",
                "发自我的iPhone",
                "Verstuurd vanaf mijn iPhone",
                "Holen Sie sich Outlook für Android",
                "Outlook für iOS beziehen",
                "Mit Proton Mail sicheren E-Mails gesendet.",
                "נשלח מה-iPhone שלי",
            )
        ),
    ],
)
def test_what_leads_in_a_quote_goes_with_it(before):
    assert own_words(f"Fine by me.\n\n{before}his words")[0] == "Fine by me."


@pytest.mark.parametrize(
    "said",
    [
        "Cześć,\nMama pisze, że będzie o 18:30 i prosi o kilka rzeczy:\n- chleb\n- mleko",
        *("Hi,\nDownload Outlook first, then log in.", "Hai,\nDikirim dari Jakarta kemarin sore."),
        *("Hi,\nנשלח מהר את המסמכים", "Hi,\niPhone dün gönderildi, yarın gelir."),
        "Please forward this to all:\nWhat: a walk\nWhen: noon",
    ],
)
def test_what_resembles_it_is_her_own(said):
    assert own_words(said)[0].strip() == said


def test_answers_between_quotes_stay_below_a_heading_of_the_original_message():
    mail = (
        "------- Original Message -------\nOn March 9th, 2024, Bob <bob@example.org> wrote:\n\n> one\n\nmine\n\n> two\n"
    )
    assert own_words(mail)[0].strip() == "mine"
