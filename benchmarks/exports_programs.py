"""Exports of chats for `benchmarks.exports` with all that programs put into them today.

Forwards, replies and stickers, threads and bots, branches and tools, custom instructions and attachments: of each
program what its export holds beside messages, and whole archives where a person is handed one.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.exports_chats import Said, by, said, unix, zipped
from benchmarks.exports_words import OTHERS

ALICE, BOB, CAROL = "Alice M.", "Bob", "Carol K."
_PEOPLE = {ALICE: "1", BOB: "2", CAROL: "3"}

Json = dict[str, Any]
Written = tuple[bytes, list[Any]]
"""A file, and what of it neither Alice nor anybody else said in the chat."""


def telegram(chat: Said) -> Written:
    told: list[Json] = []
    extra: list[Any] = []
    for number, (at, author, text) in enumerate(chat):
        who: Json = {"from": author, "from_id": f"user{_PEOPLE[author]}"}
        base: Json = {
            "id": number,
            "type": "message",
            "date": f"{at:%Y-%m-%dT%H:%M:%S}",
            "date_unixtime": str(unix(at)),
        }
        words = text.split(" ")
        pieces: list[Any] = [text]
        if len(words) > 6:
            kinds = ("bold", "spoiler", "text_link", "custom_emoji", "mention", "code", "strikethrough")
            marked: Json = {"type": kinds[number % len(kinds)], "text": words[2]}
            marked |= {"href": "https://example.org/seen"} if marked["type"] == "text_link" else {}
            pieces = [" ".join(words[:2]) + " ", marked, " " + " ".join(words[3:])]
        entities = [each if isinstance(each, dict) else {"type": "plain", "text": each} for each in pieces]
        message: Json = base | who | {"text": pieces if len(pieces) > 1 else text, "text_entities": entities}
        if number % 7 == 2:
            message |= {"reply_to_message_id": max(0, number - 3), "edited": message["date"]}
        if number % 11 == 3:
            message |= {"reactions": [{"type": "emoji", "count": 1, "emoji": "👍", "recent": [who]}]}
        if number % 13 == 5:
            message |= {"photo": "photos/photo_1@26-02-2024.jpg", "width": 1280, "height": 960}
        if number % 19 == 5:
            quoted: Json = {"type": "blockquote", "text": OTHERS[number % 15], "collapsed": False}
            message["text"] = [quoted, "\n", *pieces]
            message["text_entities"] = [quoted, *entities]
            extra.append(quoted["text"])
        told.append(message)
        if number % 30 == 4:
            forwarded: Json = {"forwarded_from": "Eve", "forwarded_from_id": "user77", "text": OTHERS[number % 15]}
            told.append(message | forwarded | {"id": 9_000 + number, "text_entities": []})
            gone: Json = {"forwarded_from": None, "text": OTHERS[number % 14], "text_entities": []}
            told.append(message | gone | {"id": 8_000 + number})
            extra += [forwarded["text"], gone["text"]]
        if number % 41 == 6:
            sticker: Json = {"file": "(File not included.)", "media_type": "sticker", "sticker_emoji": "😀", "text": ""}
            told.append(base | who | sticker | {"id": 7_000 + number, "text_entities": []})
            bot: Json = {"via_bot": "@gif", "text": "powered by a bot", "text_entities": []}
            told.append(base | who | bot | {"id": 6_000 + number})
            asked: Json = {
                "question": "Which of these days?",
                "closed": False,
                "answers": [{"text": "Monday", "voters": 1}],
            }
            told.append(base | who | {"id": 5_000 + number, "poll": asked, "text": "", "text_entities": []})
            told.append(base | {"id": 4_000 + number, "type": "service", "actor": author, "action": "phone_call"})
            told[-1] |= {"actor_id": who["from_id"], "text": "", "text_entities": []}
            extra += [bot["text"], asked["question"]]
    whole: Json = {"name": "Friends", "type": "private_supergroup", "id": 77, "messages": told}
    return json.dumps(whole, ensure_ascii=False, indent=1).encode(), extra


def discord(chat: Said) -> Written:
    told: list[Json] = []
    extra: list[Any] = []

    def wrote(name: str, *, bot: bool = False) -> Json:
        who: Json = {"id": str(100 + ord(name[0])), "name": name.split(maxsplit=1)[0].lower(), "discriminator": "0000"}
        return {"author": who | {"nickname": name, "color": None, "isBot": bot, "roles": [], "avatarUrl": "x.png"}}

    for number, (at, author, text) in enumerate(chat):
        message: Json = {
            "id": str(10_000 + number),
            "type": "Default",
            "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.123+00:00",
        }
        message |= {"timestampEdited": None, "callEndedTimestamp": None, "isPinned": False, "content": text}
        message |= wrote(author)
        message |= {each: [] for each in ("attachments", "embeds", "stickers", "reactions", "mentions", "inlineEmojis")}
        if number % 5 == 2:
            message |= {"type": "Reply", "reference": {"messageId": "1", "channelId": "5", "guildId": "4"}}
        if number % 9 == 4:
            embed: Json = {
                "title": "A page",
                "url": "https://example.org",
                "description": OTHERS[number % 15],
                "fields": [],
            }
            message["embeds"] = [embed]
            extra += [embed["title"], embed["description"]]
        if number % 12 == 4:
            message["stickers"] = [{"id": "9", "name": "Wave", "format": "Lottie", "sourceUrl": "https://x/9.json"}]
        if number % 14 == 6:
            message["reactions"] = [{"emoji": {"name": "👍"}, "count": 2, "users": [wrote(BOB)["author"]]}]
        told.append(message)
        if number % 40 == 8:
            told.append(message | wrote("Dyno", bot=True) | {"content": "Alice M. reached level 5!", "embeds": []})
            told.append(message | {"type": "ChannelPinnedMessage", "content": "Pinned a message.", "embeds": []})
            forwarded: Json = {"content": OTHERS[number % 14], "timestamp": message["timestamp"], "attachments": []}
            told.append(message | {"content": "", "embeds": [], "forwardedMessage": forwarded})
            told.append(message | {"type": "ThreadCreated", "content": "Started a thread.", "embeds": []})
            extra += [str(each["content"]) for each in told[-4:]] + [forwarded["content"]]
    guild: Json = {"id": "4", "name": "Friends", "iconUrl": "x.png"}
    channel: Json = {
        "id": "5",
        "type": "GuildTextChat",
        "categoryId": "6",
        "category": "Text",
        "name": "tea",
        "topic": None,
    }
    whole: Json = {"guild": guild, "channel": channel, "dateRange": {"after": None, "before": None}}
    return json.dumps(whole | {"messages": told, "messageCount": len(told)}, ensure_ascii=False).encode(), extra


def slack(chat: Said) -> Written:
    users = [
        {"id": f"U0{who}", "name": name.split()[0].lower(), "real_name": name, "is_bot": False}
        | {"profile": {"real_name": name, "display_name": name}}
        for name, who in _PEOPLE.items()
    ]
    days: dict[str, list[Json]] = {}
    extra: list[Any] = []
    for number, (at, author, text) in enumerate(chat):
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        spelled = " ".join(f"<{each}>" if each.startswith("https://") else each for each in escaped.split(" "))
        base: Json = {
            "type": "message",
            "user": f"U0{_PEOPLE[author]}",
            "ts": f"{unix(at)}.{number:06}",
            "text": spelled,
        }
        rich = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
        message: Json = base | {"client_msg_id": str(number), "team": "T1"}
        message["blocks"] = [{"type": "rich_text", "elements": [rich]}]
        day = days.setdefault(f"{at:%Y-%m-%d}", [])
        if number % 8 == 3:
            message |= {"thread_ts": f"{unix(at)}.000001", "parent_user_id": "U02"}
        if number % 21 == 3:
            shared: Json = {"from_url": "https://x.slack.com/archives/C1/p1", "author_name": "Bob", "is_share": True}
            message["attachments"] = [shared | {"text": OTHERS[number % 15], "footer": "Posted in #tea"}]
            extra.append(OTHERS[number % 15])
        day.append(message)
        if number % 33 == 5:
            joined: Json = {"subtype": "channel_join", "text": f"<@U0{_PEOPLE[author]}> has joined the channel"}
            topic: Json = {"subtype": "channel_topic", "topic": "tea", "text": "set the channel topic: tea"}
            bot: Json = {
                "subtype": "bot_message",
                "bot_id": "B1",
                "username": "reminders",
                "text": "Stand-up in 5 minutes",
            }
            app: Json = {"bot_id": "B2", "bot_profile": {"name": "Polls"}, "text": "A poll was made: which day?"}
            huddle: Json = {"subtype": "huddle_thread", "text": "A huddle happened", "room": {"name": "x"}}
            gone: Json = {"subtype": "tombstone", "text": "This message was deleted.", "user": "USLACKBOT"}
            day += [base | each for each in (joined, topic, bot, app, huddle, gone)]
            extra += [str(each["text"]) for each in (joined, topic, bot, app, huddle, gone)]
    files = {f"tea/{day}.json": json.dumps(told).encode() for day, told in days.items()}
    channels = [{"id": "C1", "name": "tea", "members": ["U01"], "purpose": {"value": "Tea, and nothing else here"}}]
    files |= {"users.json": json.dumps(users).encode(), "channels.json": json.dumps(channels).encode()}
    files |= {"integration_logs.json": b"[]", "canvases.json": b"[]"}
    return zipped(files), extra


def sigexport(chat: Said) -> Written:
    lines: list[str] = []
    extra: list[Any] = []
    for number, (at, author, text) in enumerate(chat):
        said = f"{text}  "
        if number % 10 == 3:
            said = f"\n\n> {OTHERS[number % 15]}\n\n{said}"
            extra.append(OTHERS[number % 15])
        if number % 15 == 3:
            said += "\n(- Bob: 👍, Carol K.: ❤️ -)"
        if number % 22 == 5:
            said += "![IMG_1.jpg](./media/2024-02-26_IMG_1.jpg)  "
        lines.append(f"[{at:%Y-%m-%d %H:%M:%S}] {'Me' if author == ALICE else author}: {said}\n")
        if number % 35 == 6:
            lines.append(f"[{at:%Y-%m-%d %H:%M:%S}] {author}: [🐱](../exported_stickers/ab12/3.webp)  \n")
            lines.append(f"[{at:%Y-%m-%d %H:%M:%S}] {author}: (This message was deleted)\n")
            extra.append("This message was deleted")
    return "".join(lines).encode(), extra


def instagram(chat: Said) -> Written:
    def garbled(text: str) -> str:
        return text.encode().decode("latin-1")

    tells: tuple[str, ...] = (
        "Reacted {} to your message ",
        "Hat mit {} auf deine Nachricht reagiert",
        "A réagi {} à votre message",
    )
    tells += ("Reaccionó con {} a tu mensaje", "Zareagował(a) {} na Twoją wiadomość", "{} ile mesajına ifade bıraktı")
    told: list[Json] = []
    extra: list[Any] = []
    for number, (at, author, text) in enumerate(chat):
        base: Json = {
            "sender_name": garbled(author),
            "timestamp_ms": unix(at) * 1000,
            "is_geoblocked_for_viewer": False,
        }
        message: Json = base | {"content": garbled(text)}
        if number % 9 == 4:
            message["reactions"] = [{"reaction": garbled("❤"), "actor": garbled(BOB), "timestamp": unix(at)}]
        told.append(message)
        asides = [
            (number % 12 == 5, tells[number // 12 % len(tells)].format("❤️")),
            (number % 25 == 6, "Liked a message"),
            (number % 31 == 7, f"{author} sent an attachment."),
            (number % 45 == 8, "You sent an attachment."),
        ]
        for happens, what in asides:
            if happens:
                told.append(base | {"content": garbled(what)})
                extra.append(what)
        if number % 28 == 9:
            share: Json = {"link": "https://www.instagram.com/reel/1", "share_text": OTHERS[number % 15]}
            told.append(base | {"content": f"{author} sent an attachment.", "share": share})
            extra += [told[-1]["content"], share["share_text"]]
    people = [{"name": name} for name in (BOB, CAROL, ALICE)]
    whole: Json = {"participants": people, "messages": told[::-1], "title": "Friends", "is_still_participant": True}
    place = "your_instagram_activity/messages/inbox/friends_5"
    name = {"string_map_data": {"Name": {"href": "", "value": ALICE, "timestamp": 0}}}
    files = {
        f"{place}/message_1.json": json.dumps(whole | {"thread_path": "inbox/friends_5", "magic_words": []}).encode(),
        "personal_information/personal_information/personal_information.json": json.dumps(
            {"profile_user": [{"title": "", "media_map_data": {}} | name]}
        ).encode(),
        "connections/followers_and_following/followers_1.json": json.dumps(
            [{"title": "", "string_list_data": [{"href": "https://x", "value": "eve_the_baker", "timestamp": 1}]}]
        ).encode(),
    }
    return zipped(files), [*extra, "eve_the_baker"]


def google_chat(chat: Said) -> Written:
    told: list[Json] = []
    extra: list[Any] = []
    people = {
        name: {"name": name, "email": f"{name.split()[0].lower()}@example.org", "user_type": "Human"}
        for name in _PEOPLE
    }
    for number, (at, author, text) in enumerate(chat):
        day = f"{at:%A, %B} {at.day}, {at.year} at {at.hour % 12 or 12}:{at:%M:%S}\u202f{at:%p} UTC"
        message: Json = {
            "creator": people[author],
            "created_date": day,
            "text": text,
            "topic_id": "t",
            "message_id": str(number),
        }
        if number % 9 == 4:
            quoted: Json = {"creator": people[BOB], "text": OTHERS[number % 15], "message_id": "1", "created_date": day}
            message["quoted_message_metadata"] = quoted
            extra.append(quoted["text"])
        if number % 13 == 4:
            message["updated_date"] = day
            message["previous_message_versions"] = [{"text": "An older version of it.", "created_date": day}]
            extra.append("An older version of it.")
        told.append(message)
        if number % 37 == 5:
            bot: Json = {"name": "Meet", "email": "", "user_type": "Bot"}
            told.append(message | {"creator": bot, "text": "A meeting has started"})
            gone: Json = {"creator": people[author], "created_date": day, "message_state": "DELETED", "message_id": "9"}
            told.append(gone | {"deletion_metadata": {"deletion_type": "CREATOR"}})
            extra.append("A meeting has started")
    user: Json = {"user": people[ALICE], "membership_info": [{"group_id": "DM 1", "membership_state": "MEMBER_JOINED"}]}
    place = "Takeout/Google Chat"
    files = {
        f"{place}/Groups/DM 1/messages.json": json.dumps({"messages": told}, ensure_ascii=False, indent=2).encode(),
        f"{place}/Groups/DM 1/group_info.json": json.dumps({"members": list(people.values())}).encode(),
        f"{place}/Users/User 1/user_info.json": json.dumps(user).encode(),
    }
    return zipped(files), extra


def skype(chat: Said) -> Written:
    """What Microsoft hands out of Skype, and of Teams for private use."""
    ids = {ALICE: "8:live:alice", BOB: "8:live:bob", CAROL: "8:live:carol"}
    told: list[Json] = []
    extra: list[Any] = []
    for number, (at, author, text) in enumerate(chat):
        spelled = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        if number % 9 == 4:
            quoted = '<quote author="bob" authorname="Bob" timestamp="1"><legacyquote>[1] Bob: </legacyquote>'
            spelled = f"{quoted}{OTHERS[number % 10]}<legacyquote>\n\n&lt;&lt;&lt; </legacyquote></quote>{spelled}"
            extra.append(OTHERS[number % 10])
        elif "https://" in spelled:
            link = next(each for each in spelled.split(" ") if each.startswith("https://"))
            spelled = spelled.replace(link, f'<a href="{link}">{link}</a>')
        if number % 11 == 6:
            spelled += '<e_m a="alice" ts_ms="1" ts="1" t="61"></e_m>'
        base: Json = {"id": str(unix(at) * 1000 + number), "originalarrivaltime": f"{at:%Y-%m-%dT%H:%M:%S}.123Z"}
        base |= {"conversationid": "19:x@thread.skype", "displayName": author if author != ALICE else None}
        base |= {"from": ids[author], "version": 1, "properties": None, "amsreferences": None}
        told.append(base | {"messagetype": "RichText", "content": spelled})
        if number % 33 == 5:
            file = (
                '<URIObject type="File.1" uri="x"><Title>Title: plan.pdf</Title>To view this file, go to: x</URIObject>'
            )
            told.append(base | {"messagetype": "RichText/Media_GenericFile", "content": file})
            call = '<partlist type="ended" alt=""><part identity="bob"><name>Bob</name></part></partlist>'
            told.append(base | {"messagetype": "Event/Call", "content": call})
            added = "<addmember><eventtime>1</eventtime><initiator>8:live:bob</initiator></addmember>"
            told.append(base | {"messagetype": "ThreadActivity/AddMember", "content": added})
    talk = {"id": "19:x@thread.skype", "displayName": "Friends", "version": 1, "properties": {}}
    whole: Json = {
        "userId": ids[ALICE],
        "exportDate": "2024-03-30T09:12",
        "conversations": [talk | {"MessageList": told[::-1]}],
    }
    return json.dumps(whole, ensure_ascii=False).encode(), extra


def linkedin(chat: Said) -> Written:
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(
        (
            *("CONVERSATION ID", "CONVERSATION TITLE", "FROM", "SENDER PROFILE URL", "TO", "RECIPIENT PROFILE URLS"),
            *("DATE", "SUBJECT", "CONTENT", "FOLDER", "ATTACHMENTS", "IS MESSAGE DRAFT"),
        )
    )
    for at, author, text in chat[::-1]:
        to = BOB if author == ALICE else ALICE
        urls = [f"https://www.linkedin.com/in/{each.split()[0].lower()}" for each in (author, to)]
        row = ("2-ab==", "", author, urls[0], to, urls[1], f"{at:%Y-%m-%d %H:%M:%S} UTC", "", text, "INBOX", "", "No")
        table.writerow(row)
    praise = "Alice is the most reliable colleague whom I ever had the luck to work with."
    files = {
        "messages.csv": file.getvalue().encode(),
        "Recommendations_Received.csv": (
            "First Name,Last Name,Company,Job Title,Text,Creation Date,Status\n"
            f'Bob,Builder,Bricks,Builder,"{praise}","02/26/24, 08:04 AM",VISIBLE\n'
        ).encode(),
        "Connections.csv": (
            b'Notes:\n"When exporting your connection data, you may notice that some of the addresses are missing."\n\n'
            b"First Name,Last Name,URL,Email Address,Company,Position,Connected On\n"
            b"Bob,Builder,https://www.linkedin.com/in/bob,,Bricks,Builder,26 Feb 2024\n"
        ),
    }
    return zipped(files), [praise]


def program_chats() -> Iterator[tuple[str, str, str, bytes, str, list[str], list[str]]]:
    """As `benchmarks.exports_chats.chats`."""
    groups: tuple[tuple[str, str, Callable[[Said], Written], str], ...] = (
        ("Telegram, one chat", "result.json", telegram, ALICE),
        ("Discord, with bots and embeds", "tea.json", discord, ALICE),
        ("Slack, with threads and bots", "export.zip", slack, ALICE),
        ("Signal, sigexport's text", "chat.md", sigexport, "Me"),
        ("Instagram, the archive", "instagram.zip", instagram, ALICE),
        ("Google Chat, of Takeout", "takeout.zip", google_chat, ALICE),
        ("Skype and Teams", "messages.json", skype, ""),
        ("LinkedIn, the archive", "linkedin.zip", linkedin, ALICE),
    )
    for number, (name, file, write, me) in enumerate(groups):
        chat = said(700 + 10 * number)
        data, extra = write(chat)
        others = [text for _, who, text in chat if who != ALICE]
        yield "chats of other programs", name, file, data, me, by(chat, ALICE), others + extra
