"""KakaoTalk, *Export chat*: as its program for computers writes it, with brackets, and as telephones do."""

import re
from datetime import datetime

from sharedllm.text.conversations.gathering import ATTACHMENTS, DELETED, SYSTEM, Gathering, on_day, shown_name
from sharedllm.text.conversations.names import Parted, kept, parted
from sharedllm.text.documents import Document

KIND = "KakaoTalk chat"
_HEAD = re.compile(r".{0,100}(?:카카오톡 대화|KakaoTalk Chats)")
_WITH = re.compile(r"(.{1,100}?) ?님과 카카오톡 대화|KakaoTalk Chats with (.{1,100})")
_SAVED = re.compile(r"(?:저장한 날짜|Date Saved) ?: ?")
_DAY = re.compile(r"-{3,} (\d{4})년 (\d{1,2})월 (\d{1,2})일[^\n]{0,12} -{3,}")
_CLOCK = r"(오전|오후|AM|PM)? ?(\d{1,2}):(\d{2})(?: ?(AM|PM))?"
_BRACKETS = re.compile(rf"\[([^\n]{{1,80}}?)\] \[{_CLOCK}\] ?(.*)")
_COMMAS = re.compile(rf"(\d{{4}})(?:년|\.) (\d{{1,2}})(?:월|\.) (\d{{1,2}})(?:일|\.) {_CLOCK}, (.* :(?: .*)?)")
_SIGN = re.compile(" :(?: |$)")
_NOTICE = re.compile(rf"(?:\d{{4}}(?:년|\.) \d{{1,2}}(?:월|\.) \d{{1,2}}(?:일|\.)) {_CLOCK}(?:[,:] ?.*)?")
_TELLS = re.compile(
    r".{1,100}(?:님이 (?:.{0,100}초대했습니다|나갔습니다|들어왔습니다)|님을 내보냈습니다"
    r"|메시지가 삭제되었습니다)\.?.{0,40}"
)
_FILE = re.compile(
    r"(?:사진|동영상|이모티콘|음성메시지|Photo|Video|Emoticons)(?: \d+장)?|(?:보이스톡|페이스톡).{0,20}|샵검색: .+"
    r"|(?:파일|File): .+"
)
_GONE = ("삭제된 메시지입니다.", "This message was deleted.")


def text_documents(source: str, text: str) -> list[Document] | None:
    """One document; None where a text is no chat as KakaoTalk saves it."""
    lines = text.replace("\r\n", "\n").split("\n")
    if not (_HEAD.match(lines[0]) and any(_SAVED.match(line) for line in lines[1:4])):
        return None
    read = Gathering()
    day: tuple[int, int, int] | None = None
    messages: list[tuple[str | None, list[str], datetime | None]] = []
    in_message = False
    for line in lines:
        plain = line.strip("\u200e\u200f")
        if found := _BRACKETS.fullmatch(plain):
            when = _when(day, found[2] or found[5], found[3], found[4])
            messages.append((shown_name(found[1]), [found[6]], when))
            in_message = True
        elif found := _COMMAS.fullmatch(plain):
            dated = int(found[1]), int(found[2]), int(found[3])
            messages.append((None, [found[8]], _when(dated, found[4] or found[7], found[5], found[6])))
            in_message = True
        elif (dates := _DAY.fullmatch(plain)) or not in_message or _NOTICE.fullmatch(plain) or _TELLS.fullmatch(plain):
            in_message = False
            day = (int(dates[1]), int(dates[2]), int(dates[3])) if dates else day
            read.leave_out(SYSTEM, line)
        else:
            messages[-1][1].append(line)
    with_ = _WITH.fullmatch(shown_name(lines[0]))
    unparted = ["\n".join(own) for author, own, _ in messages if author is None]
    said_so, doubts = parted(unparted, _SIGN, other=with_ and (with_[1] or with_[2]), tells=_TELLS.fullmatch)
    of_unparted = iter(said_so)
    said = [next(of_unparted) if author is None else Parted(author, "\n".join(own)) for author, own, _ in messages]
    for number, author, body in kept(read, said):
        _take(read, author, body, messages[number][2])
    return [read.document(source, KIND, doubts=doubts)]


def _when(day: tuple[int, int, int] | None, half: str | None, hours: str, minutes: str) -> datetime | None:
    return on_day(day, int(hours), int(minutes), half in ("오후", "PM") if half else None)


def _take(read: Gathering, author: str, text: str, when: datetime | None) -> None:
    text = text.rstrip()
    if text in _GONE:
        read.leave_out(DELETED, text)
    elif _FILE.fullmatch(text):
        read.leave_out(ATTACHMENTS, text)
    else:
        read.say(author, text, when)
