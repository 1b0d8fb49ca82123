"""A small export of each program, as it writes it: what Alice and Bob said, and what neither did."""

import json

SAID = [("Alice", "grüß dich 👋"), ("Bob", "hi"), ("Alice", "how are you?\nfine, I hope"), ("Bob", "yes")]
"""What a careful reader finds in each of them, whoever is called what."""

TIMES = [1_710_363_600 + 60 * number for number in range(4)]
"""Seconds since 1970, 13 March 2024 from 21:00 UTC on."""

CLOCK = [f"21:0{number}" for number in range(4)]
USUAL = {"Alice": "user", "Bob": "assistant"}


def telegram_chat(number=7):
    messages = [
        {"id": at, "type": "message", "date": f"2024-03-13T{CLOCK[at]}:00", "date_unixtime": str(TIMES[at])}
        | {"from": author, "from_id": "user1" if author == "Alice" else "user2"}
        | {"text": [text[:2], {"type": "bold", "text": text[2:]}], "text_entities": []}
        for at, (author, text) in enumerate(SAID)
    ]
    forwarded = messages[0] | {"id": 9, "forwarded_from": "Eve", "text": "eve's words"}
    service = {"id": 10, "type": "service", "date": "2024-03-13T21:05:00", "actor": "Bob", "action": "phone_call"}
    return {"name": "Bob", "type": "personal_chat", "id": number, "messages": [*messages, forwarded, service]}


def telegram():
    return {
        "about": "Here is the data you requested.",
        "personal_information": {"user_id": 1, "first_name": "Alice", "last_name": ""},
        "chats": {"about": "", "list": [telegram_chat()]},
    }


def discord():
    names = {"Alice": "100", "Bob": "200"}
    messages = [
        {"id": str(at), "type": "Default", "timestamp": f"2024-03-13T{CLOCK[at]}:00+00:00", "timestampEdited": None}
        | {"content": text, "author": {"id": names[author], "name": author.lower(), "nickname": author, "isBot": False}}
        | {"attachments": [], "embeds": [], "reactions": []}
        for at, (author, text) in enumerate(SAID)
    ]
    joined = messages[0] | {"type": "GuildMemberJoin", "content": "Joined the server."}
    quoted = messages[2] | {"content": "> bob's words\n" + messages[2]["content"]}
    return {
        "guild": {"id": "0", "name": "Direct Messages"},
        "channel": {"id": "5", "type": "DirectTextChat", "name": "Bob"},
        "messages": [joined, *messages[:2], quoted, messages[3]],
        "messageCount": 5,
    }


def messenger(key="sender_name"):
    def garbled(text):
        return text.encode().decode("latin-1")

    messages = [
        {key: author, "timestamp_ms": TIMES[at] * 1000, "content": garbled(text), "is_geoblocked_for_viewer": False}
        for at, (author, text) in enumerate(SAID)
    ]
    photo = {
        "sender_name": "Bob",
        "timestamp_ms": TIMES[3] * 1000,
        "content": "Bob sent an attachment.",
        "photos": [{}],
    }
    return {
        "participants": [{"name": "Bob"}, {"name": "Alice"}],
        "messages": [photo, *messages[::-1]],
        "title": "Bob",
        "thread_path": "inbox/bob_5",
    }


def encrypted_messenger():
    messages = [
        {"isUnsent": False, "media": [], "reactions": [], "senderName": author, "text": text, "type": "text"}
        | {"timestamp": TIMES[at] * 1000}
        for at, (author, text) in enumerate(SAID)
    ]
    unsent = messages[1] | {"isUnsent": True, "text": "gone"}
    return {"participants": ["Alice", "Bob"], "threadName": "Bob_5", "messages": [unsent, *messages]}


def slack():
    messages = [
        {"type": "message", "user": "UALICE" if author == "Alice" else "UBOB", "ts": f"{TIMES[at]}.000100"}
        | {"text": text, "user_profile": {"real_name": author, "display_name": "", "name": author.lower()}}
        for at, (author, text) in enumerate(SAID)
    ]
    joined = {
        "type": "message",
        "subtype": "channel_join",
        "user": "UBOB",
        "ts": "1710363599.0",
        "text": "<@UBOB> joined",
    }
    return [joined, *messages]


def signal_lines():
    frames = [
        {"version": "1", "backupTimeMs": "1"},
        {"recipient": {"id": "1", "self": {}}},
        {"recipient": {"id": "2", "contact": {"e164": "49151", "profileGivenName": "Bob"}}},
        {"chat": {"id": "10", "recipientId": "2"}},
    ]
    for at, (author, text) in enumerate(SAID):
        item = {"chatId": "10", "authorId": "1" if author == "Alice" else "2", "dateSent": str(TIMES[at] * 1000)}
        item["outgoing" if author == "Alice" else "incoming"] = {}
        frames.append({"chatItem": item | {"standardMessage": {"text": {"body": text}}}})
    frames.append({"chatItem": {"chatId": "10", "authorId": "2", "dateSent": "1710363900000", "directionless": {}}})
    return frames


def sigexport_lines():
    return [
        {"date": f"2024-03-13T{CLOCK[at]}:00", "sender": "Me" if author == "Alice" else author, "body": text + "  "}
        | {"quote": "\n\n> bob's words\n\n" if at == 2 else "", "sticker": "", "reactions": [], "attachments": []}
        for at, (author, text) in enumerate(SAID)
    ]


def sigexport_text():
    return "\n".join(
        f"[2024-03-13 {CLOCK[at]}:00] {'Me' if author == 'Alice' else author}: "
        + ("\n\n> bob's words\n\n" if at == 2 else "")
        + f"{text}  \n(- Bob: 👍 -)\n"
        for at, (author, text) in enumerate(SAID)
    )


def google_chat():
    messages = [
        {"creator": {"name": author, "email": f"{author.lower()}@example.org", "user_type": "Human"}, "text": text}
        | {
            "created_date": f"Wednesday, March 13, 2024 at 9:0{at}:00\u202fPM UTC",
            "topic_id": "t",
            "message_id": str(at),
        }
        for at, (author, text) in enumerate(SAID)
    ]
    messages[2]["quoted_message_metadata"] = {"creator": messages[1]["creator"], "text": "bob's words"}
    bot = messages[0] | {"creator": {"name": "Meet", "user_type": "Bot"}, "text": "A meeting has started"}
    gone = messages[0] | {"text": "gone", "message_state": "DELETED"}
    return {"messages": [*messages, bot, gone]}


def skype():
    def packed_text(text):
        return text.replace("&", "&amp;").replace("<", "&lt;")

    messages = [
        {"id": str(at), "displayName": author, "from": f"8:live:{author.lower()}", "messagetype": "RichText"}
        | {"originalarrivaltime": f"2024-03-13T{CLOCK[at]}:00.000Z", "content": packed_text(text)}
        for at, (author, text) in enumerate(SAID)
    ]
    quoted = '<quote author="bob"><legacyquote>[1] Bob: </legacyquote>bob\'s words<legacyquote>x</legacyquote></quote>'
    messages[2]["content"] = quoted + messages[2]["content"] + '<e_m ts="1"></e_m>'
    call = messages[0] | {"messagetype": "Event/Call", "content": "<partlist><part><name>Bob</name></part></partlist>"}
    chat = {"id": "8:live:bob", "displayName": "Bob", "MessageList": [call, *messages[::-1]]}
    return {"userId": "8:live:alice", "exportDate": "2024-03-14T09:12", "conversations": [chat]}


def line():
    lines = ["[LINE] Chat history with Bob", "Saved on: 2024/03/14 09:12", "", "2024/03/13(Wed)"]
    for at, (author, text) in enumerate(SAID):
        lines.append(f'{CLOCK[at]}\t{author}\t"{text}"' if "\n" in text else f"{CLOCK[at]}\t{author}\t{text}")
    return "\n".join([*lines, "21:05\tBob\t[Sticker]", "21:06\tBob unsent a message."])


def kakaotalk():
    lines = ["Bob 님과 카카오톡 대화", "저장한 날짜 : 2024-03-14 09:12:11", ""]
    lines.append("--------------- 2024년 3월 13일 수요일 ---------------")
    lines += [f"[{author}] [오후 9:0{at}] {text}" for at, (author, text) in enumerate(SAID)]
    return "\n".join([*lines, "[Bob] [오후 9:05] 사진", "Bob님이 나갔습니다."])


def kakaotalk_of_a_telephone():
    lines = ["Bob 님과 카카오톡 대화", "저장한 날짜 : 2024년 3월 14일 오전 9:12", "", "2024년 3월 13일 오후 9:00"]
    lines += [f"2024년 3월 13일 오후 9:0{at}, {author} : {text}" for at, (author, text) in enumerate(SAID)]
    return "\n".join(
        [*lines, "2024년 3월 13일 오후 9:05, Bob : 사진", "2024년 3월 13일 오후 9:06, Bob님이 나갔습니다."]
    )


def imessage():
    pieces = [
        f"Mar 13, 2024  9:0{at}:00 PM{' (Read by you after 3 seconds)' if author == 'Bob' else ''}\n"
        + f"{'Me' if author == 'Alice' else author}\n{text}"
        for at, (author, text) in enumerate(SAID)
    ]
    pieces[1] += "\nTapbacks:\nLoved by Me\n\n    Mar 13, 2024  9:02:00 PM\n    Me\n    how are you?"
    pieces[3] += "\nThis message responded to an earlier message.\n/Users/a/Library/Messages/Attachments/1/IMG_1.heic"
    return "\n\n".join([*pieces, "Mar 13, 2024  9:05:00 PM You renamed the conversation to Tea"]) + "\n"


def chatgpt():
    nodes = {"root": {"id": "root", "message": None, "parent": None, "children": ["system"]}}
    system = {"author": {"role": "system"}, "content": {"content_type": "text", "parts": ["be kind"]}}
    nodes["system"] = {"id": "system", "message": system, "parent": "root", "children": ["0"]}
    for at, (author, text) in enumerate(SAID):
        content = {"content_type": "text", "parts": [text]}
        message = {"author": {"role": USUAL[author]}, "create_time": TIMES[at], "content": content, "recipient": "all"}
        children = [str(at + 1)] if at < 3 else []
        nodes[str(at)] = {"id": str(at), "message": message, "parent": str(at - 1) if at else "system"}
        nodes[str(at)]["children"] = children
    given_up = nodes["2"]["message"] | {"content": {"content_type": "text", "parts": ["given up"]}}
    nodes["other"] = {"id": "other", "message": given_up, "parent": "1", "children": []}
    nodes["1"]["children"].append("other")
    return [{"title": "Greeting", "create_time": TIMES[0], "mapping": nodes, "current_node": "3"}]


def claude():
    messages = [
        {"uuid": str(at), "text": text, "content": [{"type": "text", "text": text}], "attachments": [], "files": []}
        | {"sender": "human" if author == "Alice" else "assistant", "created_at": f"2024-03-13T{CLOCK[at]}:00.000000Z"}
        for at, (author, text) in enumerate(SAID)
    ]
    return [{"uuid": "a", "name": "Greeting", "created_at": "", "account": {"uuid": "b"}, "chat_messages": messages}]


def messages():
    told = [{"role": "system", "content": "be kind"}]
    return [{"messages": told + [{"role": USUAL[author], "content": text} for author, text in SAID]}]


def whatsapp(spelling="13/03/2024, {} - {}: {}"):
    lines = ["13/03/2024, 21:00 - Messages and calls are end-to-end encrypted. Tap to learn more."]
    lines += [spelling.format(CLOCK[at], author, text) for at, (author, text) in enumerate(SAID)]
    lines.insert(3, spelling.format("21:01", "Bob", "<Media omitted>"))
    return "\n".join(lines)


def packed(value):
    return json.dumps(value).encode()


def in_lines(values):
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()


EXPORTS = {
    "Telegram, everything": (packed(telegram()), "Alice", "Bob"),
    "Telegram, one chat": (packed(telegram_chat()), "Alice", "Bob"),
    "Discord": (packed(discord()), "Alice", "Bob"),
    "Messenger": (packed(messenger()), "Alice", "Bob"),
    "Messenger, encrypted": (packed(encrypted_messenger()), "Alice", "Bob"),
    "Slack": (packed(slack()), "Alice", "Bob"),
    "Signal": (in_lines(signal_lines()), "Me", "Bob"),
    "sigexport": (in_lines(sigexport_lines()), "Me", "Bob"),
    "sigexport, text": (sigexport_text().encode(), "Me", "Bob"),
    "Google Chat": (packed(google_chat()), "Alice", "Bob"),
    "Skype": (packed(skype()), "Alice", "Bob"),
    "LINE, text": (line().encode(), "Alice", "Bob"),
    "KakaoTalk": (kakaotalk().encode(), "Alice", "Bob"),
    "KakaoTalk of a telephone": (kakaotalk_of_a_telephone().encode(), "Alice", "Bob"),
    "imessage-exporter": (imessage().encode(), "Me", "Bob"),
    "ChatGPT": (packed(chatgpt()), "user", "assistant"),
    "Claude": (packed(claude()), "user", "assistant"),
    "messages, JSON lines": (in_lines(messages()), "user", "assistant"),
    "messages, an array": (packed(messages() * 2), "user", "assistant"),
    "messages, of one": (packed(messages()[0]["messages"]), "user", "assistant"),
    "WhatsApp": (whatsapp().encode(), "Alice", "Bob"),
}
"""By program: the file, and what it calls Alice and Bob."""
