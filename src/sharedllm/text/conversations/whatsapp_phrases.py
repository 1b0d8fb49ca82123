"""What WhatsApp itself writes into a chat, in the languages of its exports."""

import re

_FILE_ATTACHED = (
    "file attached",
    "lêer aangeheg",
    "الملف مرفق",
    "ملف مرفق",
    "fayl əlavə olunub",
    "прикачен файл",
    "ফাইল সংযুক্ত",
    "arxiu adjunt",
    "soubor byl přiložen",
    "přiložený soubor",
    "fil vedhæftet",
    "vedhæftet fil",
    "Datei angehängt",
    "συνημμένο αρχείο",
    "archivo adjunto",
    "archivo adjuntado",
    "fail lisatud",
    "liitetiedosto",
    "tiedosto liitetty",
    "fichier joint",
    "pièce jointe",
    "קובץ מצורף",
    "הקובץ צורף",
    "फाइल अटैच",
    "फ़ाइल अटैच",
    "datoteka u privitku",
    "fájl csatolva",
    "file terlampir",
    "file allegato",
    "添付ファイル",
    "ファイル添付",
    "қосымша файл",
    "파일 첨부됨",
    "byla prisegta",
    "pievienots fails",
    "прикачен фајл",
    "फाइल संलग्न",
    "fail dilampirkan",
    "vedlagt fil",
    "bestand bijgevoegd",
    "ਫਾਈਲ ਅਟੈਚ",
    "załączony plik",
    "załączono plik",
    "plik załączony",
    "ficheiro anexado",
    "arquivo anexado",
    "fișier atașat",
    "файл добавлен",
    "файл прикреплен",
    "файл прикреплён",
    "súbor pripojený",
    "priložena datoteka",
    "skedë e ngjitur",
    "прикачена датотека",
    "bifogad fil",
    "fil bifogad",
    "faili limeambatanishwa",
    "ไฟล์ที่แนบ",
    "nakalakip na file",
    "dosya ekli",
    "dosya eklendi",
    "файл додано",
    "файл прикріплено",
    "پیوستہ فائل",
    "فایل پیوست شد",
    "پیوست شد",
    "fayl biriktirildi",
    "tệp đính kèm",
    "文件附件",
    "附件檔案",
    "附件",
)

_OMITTED = (
    r"(?:image|video|audio|sticker|gif|document|photo|media|contact card|video note|voice message|"
    r"view once \w+) omitted",
    r"(?:bild|video|audio|sticker|gif|dokument|kontaktkarte|videonotiz|foto|medien) (?:weggelassen|ausgelassen)",
    r"(?:imagen|foto|video|audio|sticker|gif|documento|tarjeta de contacto|videomensaje|nota de vídeo) omitid[oa]s?",
    r"(?:imagem|foto|vídeo|áudio|figurinha|sticker|gif|documento|cartão do contato|cartão de contacto|nota de vídeo) "
    r"(?:omitid[oa]|ocultad[oa]|ocult[oa]|não incluíd[oa])",
    r"(?:image|photo|vidéo|audio|sticker|autocollant|gif|document|fiche contact|carte de contact|note vidéo) "
    r"(?:absente?|omise?|non incluse?)",
    r"(?:immagine|foto|video|audio|sticker|adesivo|gif|documento|scheda contatto|videomessaggio) omess[oa]",
    r"(?:afbeelding|foto|video|audio|sticker|gif|document|contactkaart|videonotitie) weggelaten",
    r"(?:изображение|видео|аудиофайл|аудио|стикер|gif|документ|карточка контакта|фото) (?:опущен[оа]?|пропущен[оа]?)",
    r"(?:зображення|відео|аудіо|стікер|gif|документ) (?:опущено|пропущено)",
    r"(?:görüntü|resim|video|ses|çıkartma|gif|belge|kişi kartı) dahil edilmedi",
    r"(?:obraz|zdjęcie|wideo|film|dźwięk|audio|naklejka|gif|dokument) (?:pominięt[oy]|pominięta|pominięty|pominięto)",
    r"(?:bild|video|ljud|klistermärke|gif|dokument)(?:en|et)? (?:utelämnad|utelämnat|utelämnades|har utelämnats)",
    r"(?:billede|billedet|video|videoen|lyd|sticker|mærkat|gif|dokument) (?:udeladt|er udeladt|blev udeladt)",
    r"(?:bilde|bildet|video|lyd|klistremerke|gif|dokument) (?:utelatt|er utelatt)",
    r"(?:kuva|video|ääni|tarra|gif|asiakirja)(?:a)? (?:jätetty pois|jätettiin pois|ei sisällytetty)",
    r"(?:gambar|video|audio|stiker|gif|dokumen) (?:tidak disertakan|dihilangkan|diabaikan)",
    r"(?:画像|動画|ビデオ|音声|オーディオ|ステッカー|スタンプ|gif|文書|ドキュメント)(?:は|が)?(?:省略されました|含まれていません|を省略しました)",
    r"(?:图片|图像|影像|圖片|视频|影片|視訊|音频|音訊|贴图|貼圖|gif|文档|文件)(?:已忽略|已略過|已省略|略去|已略去)",
    r"(?:이미지|사진|동영상|오디오|음성|스티커|gif|문서) ?(?:생략됨|생략|누락됨)",
    r"(?:תמונה|סרטון|וידאו|שמע|הקלטה|סטיקר|מדבקה|gif|מסמך) (?:הושמטה?|לא נכללה?)",
    r"(?:الصورة|صورة|الفيديو|فيديو|الصوت|مقطع صوتي|الملصق|ملصق|gif|المستند|مستند)(?: غير)? (?:مستبعدة?|"
    r"محذوفة?|مدرجة?|تم حذفها?)",
    r"(?:obrázek|video|zvuk|nálepka|gif|dokument) (?:vynechán|vynecháno|vynechána|byl[ao]? vynechán[ao]?)",
    r"(?:kép|videó|hang|matrica|gif|dokumentum) (?:kihagyva|mellőzve)",
    r"(?:imagine|video|audio|autocolant|gif|document) (?:omis[ăa]?|exclus[ăa]?)",
)

_EDITED = (
    r"edited|bearbeitet|edit[óo]|editad[oa]|modifié|modificat[oa]?|modificad[oa]|bewerkt|düzenlendi|"
    r"düzenlenmiş|измен[её]но|отредактирован[оа]?|"
    r"edytowan[ao]|zmieniona|redigerad|redigerats|redigert|redigeret|muokattu|muokattiin|編集|编辑|編輯|편집|수정|تعديل|ویرایش|"
    r"נערכה|संपादित|एडिट|diedit|disunting|chỉnh sửa|upraven[ao]?|szerkeszt|editat|змінено|відредаговано|"
    r"επεξεργ|редактиран[оа]|uređen[ao]|แก้ไข"
)

_ENCRYPTED = (
    r"end-to-end[ -]encrypt|ende-zu-ende|de extremo a extremo|de ponta[- ]a[- ]ponta|ponto a ponto|de bout en bout|"
    r"crittografi[ac].{0,20}end-to-end|end-to-end[ -](?:versleutel|encryptie|krypter|enkripsi)|сквозным шифрованием|"
    r"наскрізн|uçtan uca|pełne szyfrowanie|szyfrowane? (?:w pełni|metodą end-to-end)|end-to-end-krypter|"
    r"totalsträckskrypter|kryptert ende-til-ende|päästä päähän|エンドツーエンド|端到端|端對端|종단간 암호화|מקצה לקצה|"
    r"التشفير التام|تشفير تام|سرتاسر|एंड-टू-एंड|शुरू से अंत तक|koncov(?:ým|é) šifrován|végpontok közötti|"
    r"végponttól végpontig|"
    r"criptare integrală|d'extrem a extrem|đầu cuối|ปลายทาง|κρυπτογράφηση|od kraja do kraja|end-to-end titkos"
)

_AFTER_CALL = r"(?:(?:[.,·]| at | um | a las? | às | à | alle | om | в | o ).{0,40})?"
_LASTED = r"(?:[.,·] ?\u200e?\d+ ?\w{1,8}\.?(?: \d+ ?\w{1,8}\.?)?|[.,·] ?\u200e?(?:no answer|answered|keine antwort))?"
_CALLS = (
    r"(?:(?:silenced )?missed (?:group )?(?:voice|video) call|verpasster? (?:gruppen-?)?(?:sprach|video)anruf|"
    r"(?:llamada de voz|videollamada)(?: grupal)? perdida|"
    r"(?:chamada|ligação) de (?:voz|vídeo)(?: em grupo)? (?:perdida|não atendida)|"
    r"appel (?:vocal|vidéo)(?: de groupe)? manqué|(?:chiamata vocale|videochiamata)(?: di gruppo)? persa|"
    r"gemiste (?:groeps)?(?:spraak|video|audio)-?oproep|"
    r"пропущенный (?:групповой )?(?:аудио|видео)(?:звонок|вызов)|пропущений (?:аудіо|відео)(?:дзвінок|виклик)|"
    r"(?:saat )?(?:\d\d:\d\d'\w{2,3} )?cevapsız (?:sesli|görüntülü) arama|"
    r"nieodebrane połączenie (?:głosowe|wideo)|missat (?:röst|video)samtal|"
    r"mistet (?:tale|video)opkald|ubesvart (?:tale|video)anrop|vastaamaton (?:ääni|video)puhelu|"
    r"panggilan (?:suara|video) tak terjawab|(?:音声|ビデオ)通話(?:に)?不在着信|"
    r"未接(?:语音|語音|视频|視訊|视讯)(?:通话|通話|来电|來電)|"
    r"부재중 (?:음성|영상) ?통화|שיחה (?:קולית|וידאו) שלא נענתה|مكالمة (?:صوتية|فيديو|مرئية) فائتة)" + _AFTER_CALL + "|"
    r"(?:(?:voice|video) call|(?:sprach|video)anruf|llamada de voz|videollamada|(?:chamada|ligação) de (?:voz|vídeo)|"
    r"appel (?:vocal|vidéo)|chiamata vocale|videochiamata|(?:spraak|video)oproep)" + _LASTED
)

_OTHER = (
    r"null|waiting for this message\. this may take a while\.?|warten auf diese nachricht.*|"
    r"you received a view once (?:photo|video|message).*|this message can'?t be displayed.*|"
    r"esperando este mensaje.*|aguardando (?:esta )?mensagem.*|en attente de ce message.*|"
    r"[^\s:<>]{2,20}(?: [^\s:<>]{1,15})? ?: ?https?://maps\.google\.com/\?q=\S+|"
    r"(?:live )?(?:location|standort|ubicaci[óo]n|localiza[çc][ãa]o|posizione|locatie|position|konum|"
    r"lokalizacja|sijainti|plats|"
    r"местоположение|位置|위치|מיקום|الموقع) ?: ?https?://\S+|live location shared|live-standort wird geteilt|"
    r"canlı konum paylaşıldı|localização em tempo real compartilhada|ubicación en tiempo real compartida|"
    r"https?://maps\.google\.com/\?q=\S+"
)

_POLL = (
    r"(?:poll|umfrage|encuesta|enquete|sondagem|sondage|sondaggio|peiling|опрос|опитування|anket|ankieta|omröstning|"
    r"afstemning|avstemning|kysely|jajak pendapat|アンケート|投票|투표|סקר|استطلاع|पोल|anketa|szavazás|sondaj) ?: ?.*"
)
_OPTION = (
    r"(?:option|opción|opção|opzione|optie|вариант|варіант|seçenek|opcja|alternativ|mulighed|vaihtoehto|"
    r"opsi|選択肢|选项|選項|"
    r"옵션|אפשרות|خيار|विकल्प|možnost|lehetőség|opțiune) ?: ?.*"
)

SYSTEM_VERBS = re.compile(
    r"\b(?:created|added|removed|left|joined|changed|deleted|pinned|turned (?:on|off)|updated|are now|is now|started|"
    r"requested|blocked|unblocked|invited|was added|were added|reset|erstellt|hinzugefügt|entfernt|"
    r"verlassen|beigetreten|"
    r"geändert|angeheftet|creó|añadió|agregó|eliminó|sacó|salió|unió|cambió|fijó|criou|adicionou|removeu|"
    r"saiu|entrou|mudou|"
    r"alterou|apagou|fixou|créé|ajouté|retiré|quitté|rejoint|changé|modifié|épinglé|creato|aggiunto|rimosso|"
    r"abbandonato|"
    r"lasciato|entrato|cambiato|modificato|fissato|aangemaakt|gemaakt|toegevoegd|verwijderd|verlaten|"
    r"gewijzigd|создал[аи]?|"
    r"добавил[аи]?|удалил[аи]?|вышел|вышла|покинул[аи]?|изменил[аи]?|закрепил[аи]?|oluşturdu|ekledi|çıkardı|"
    r"ayrıldı|katıldı|"
    r"değiştirdi|utworzył|dodał|usunął|opuścił|zmienił)(?:a|o)?\b|作成|追加|退出|変更|创建|添加|移除|更改|建立|加入",
    re.IGNORECASE,
)

_NAMED = (
    r"whatsapp[- ]?(?:group )?chat (?:with|mit|kay|-) (.+)|whatsapp-?chatt? (?:met|med|mit) (.+)|"
    r"whatsapp chat med (.+)|"
    r"chat (?:de |di )?whatsapp (?:con|dengan|s uživatelem) (.+)|conversa (?:no|do) whatsapp com (.+)|"
    r"discussion whatsapp avec (.+)|whatsapp gesprek met (.+)|xat de whatsapp amb (.+)|"
    r"whatsapp-keskustelu henkilön (.+) kanssa|"
    r"czat whatsapp z (.+)|чат whatsapp с (.+)|бесіда whatsapp з (.+)|whatsapp чат с (.+)|"
    r"conversație whatsapp cu (.+)|"
    r"(.+) ile whatsapp sohbeti|whatsapp-samtale med (.+)|whatsapp csevegés vele: ?(.+)|whatsapp razgovor s (.+)|"
    r"whatsapp klepet z (.+)|whatsapp chat s používateľom (.+)|sembang whatsapp dengan (.+)|"
    r"trò chuyện whatsapp với (.+)|"
    r"συνομιλία whatsapp με (.+)|دردشة واتساب مع (.+)|گفتگوی whatsapp با (.+)|צ'אט whatsapp עם (.+)|"
    r"(.+) के साथ whatsapp चैट|(.+)とのwhatsappチャット|(.+)님과의 whatsapp 대화|whatsapp [与與] (.+) 的[对對][话話]|"
    r"แชท whatsapp กับ (.+)"
)

WHATSAPP_FILE = re.compile(r"(?:IMG|VID|AUD|PTT|PTV|STK|DOC|GIF)-\d{8}-WA\d{4}(?:\(\d+\))?\.\w{2,5}(?: \([^()\n]*\))?$")
"""A whole line that stands for a file of a chat on Android; the caption follows it."""

FILE = re.compile(r"[^\n]{1,200}\.(?=\w*[A-Za-z])[A-Za-z0-9]{2,5}")
"""A file's name."""

ATTACHED_TAG = re.compile(r"<[^<>:\n\d]{2,30}: ?[^<>\n]{1,200}\.\w{2,5}>")
"""The same on iOS, in any language; the caption goes before it."""

IN_TAGS = re.compile(r"<(?=[^<>\n]*(?:\s|[^\x00-\x7f]))[^<>\n\d]{3,60}>")
"""A whole message on Android that stands for what the export lacks, in any language: ``<Media omitted>``. None has a
digit, as hearts have."""

OMITTED = re.compile("|".join(_OMITTED), re.IGNORECASE)
EDITED = re.compile(rf"\u200e<[^<>:\n]{{3,80}}>|.?<[^<>:\n]*(?:{_EDITED})[^<>\n]*>", re.IGNORECASE)
NOTICE = re.compile(_ENCRYPTED, re.IGNORECASE)
CALL = re.compile(_CALLS, re.IGNORECASE)
OTHER = re.compile(_OTHER, re.IGNORECASE)
POLL = re.compile(_POLL, re.IGNORECASE)
VOTES = re.compile(
    r"[^\n:]{2,24}:\s?\n[^\n]+\n\W{0,2}([^\W\d][^\n:]{1,23}): [^\n]* \([\u200e\u200f]?\d+ ?[^\W\d][^\n()]{0,20}\)"
    r"(?:\n\W{0,2}\1: [^\n]* \([\u200e\u200f]?\d+ ?[^\W\d][^\n()]{0,20}\)){1,20}"
)
"""A whole poll, in any language: what it is called, the question, and behind each answer how many chose it."""

OPTION = re.compile(rf"[\u200e ]*{_OPTION}", re.IGNORECASE)
NAMED = re.compile(_NAMED, re.IGNORECASE)
"""What WhatsApp calls a file: the one group that matches is whom, or which group, the chat is with."""

FILE_ATTACHED = tuple(each.casefold() for each in _FILE_ATTACHED)

_BEFORE_NOON = [
    "am",
    "a",
    "vm",
    "π.μ.",
    "πμ",
    "上午",
    "凌晨",
    "早上",
    "清晨",
    "午前",
    "오전",
    "ص",
    "ق.ظ",
    "قظ",
    "öö",
    "sa",
    "de",
    "dop",
    "fm",
    "ip",
    "पूर्वाह्न",
    "pg",
    "pr.p.",
    "dd",
    "早晨",
    "prije",
    "podne",
    "lúc",
    "sáng",
]
_AFTER_NOON = [
    "pm",
    "p",
    "nm",
    "μ.μ.",
    "μμ",
    "下午",
    "晚上",
    "傍晚",
    "中午",
    "午後",
    "오후",
    "م",
    "ب.ظ",
    "بظ",
    "ös",
    "ch",
    "du",
    "odp",
    "em",
    "iltap",
    "अपराह्न",
    "ptg",
    "mpp",
    "dt",
]
MARKERS = {marker.replace(".", ""): 0 for marker in _BEFORE_NOON} | {
    marker.replace(".", ""): 12 for marker in _AFTER_NOON
}
"""Hours to add, by what stands beside a time of twelve hours, in small letters and without dots and spaces."""
