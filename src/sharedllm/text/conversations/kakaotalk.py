"""KakaoTalk, *Export chat*: as its program for computers writes it, with brackets, and as telephones do."""

import re
from datetime import datetime

from sharedllm.text.conversations.gathering import ATTACHMENTS, DELETED, SYSTEM, Gathering, on_day, shown_name
from sharedllm.text.documents import Document

KIND = "KakaoTalk chat"
_HEAD = re.compile(r".{0,100}(?:카카오톡 대화|KakaoTalk Chats)")
_SAVED = re.compile(r"(?:저장한 날짜|Date Saved) ?: ?")
_DAY = re.compile(r"-{3,} (\d{4})년 (\d{1,2})월 (\d{1,2})일[^\n]{0,12} -{3,}")
_CLOCK = r"(오전|오후|AM|PM)? ?(\d{1,2}):(\d{2})(?: ?(AM|PM))?"
_BRACKETS = re.compile(rf"\[([^\n]{{1,80}}?)\] \[{_CLOCK}\] ?(.*)")
_COMMAS = re.compile(rf"(\d{{4}})(?:년|\.) (\d{{1,2}})(?:월|\.) (\d{{1,2}})(?:일|\.) {_CLOCK}, (.{{1,80}}?) : ?(.*)")
_NOTICE = re.compile(rf"(?:\d{{4}}(?:년|\.) \d{{1,2}}(?:월|\.) \d{{1,2}}(?:일|\.)) {_CLOCK}(?:[,:] ?.*)?")
_TELLS = re.compile(
    r".{1,100}(?:님이 (?:.{0,100}초대했습니다|나갔습니다|들어왔습니다)|님을 내보냈습니다"
    r"|메시지가 삭제되었습니다)\.?.{0,40}"
)
_FILE = re.compile(
    r"(?:사진|동영상|이모티콘|음성메시지|Photo|Video|Emoticons)(?: \d+장)?|(?:보이스톡|페이스톡).{0,20}"
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
    head: tuple[str, datetime | None] | None = None
    said: list[str] = []

    def end() -> None:
        if head is not None:
            _take(read, head[0], "\n".join(said), head[1])

    for line in lines:
        plain = line.strip("\u200e\u200f")
        if found := _BRACKETS.fullmatch(plain):
            end()
            head, said = (shown_name(found[1]), _when(day, found[2] or found[5], found[3], found[4])), [found[6]]
        elif found := _COMMAS.fullmatch(plain):
            end()
            dated = int(found[1]), int(found[2]), int(found[3])
            head = shown_name(found[8]), _when(dated, found[4] or found[7], found[5], found[6])
            said = [found[9]]
        elif (dates := _DAY.fullmatch(plain)) or head is None or _NOTICE.fullmatch(plain) or _TELLS.fullmatch(plain):
            end()
            head = None
            day = (int(dates[1]), int(dates[2]), int(dates[3])) if dates else day
            read.leave_out(SYSTEM, line)
        else:
            said.append(line)
    end()
    return [read.document(source, KIND)]


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
