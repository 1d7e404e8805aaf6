"""Whisper's languages, and which of them a person or a tool means who writes `en-US`, `Deutsch` or `jp`.

A library of all languages would weigh over 30 MB in the functions (langcodes with its data, or Babel), and would also
know the seven thousand that no model here does. Codes and English names are Whisper's (openai/whisper, tokenizer.py);
the languages' own names and the codes with three letters are from Unicode's CLDR 48 (Unicode licence).
"""

from __future__ import annotations

import re
import unicodedata

#: Of each language: its code in Whisper | other codes for it, deprecated and mistaken ones last | names for it.
_TABLE = """
    af  | afr                         | Afrikaans
    am  | amh                         | Amharic, አማርኛ
    ar  | ara arb                     | Arabic, العربية, عربي
    as  | asm                         | Assamese, অসমীয়া
    az  | aze azj                     | Azerbaijani, Azeri, azərbaycan, azərbaycan dili, azərbaycanca
    ba  | bak                         | Bashkir, башҡорт, башҡорт теле, башҡортса
    be  | bel by                      | Belarusian, Belarussian, беларуская
    bg  | bul                         | Bulgarian, български
    bn  | ben bd                      | Bengali, Bangla, বাংলা
    bo  | bod tib                     | Tibetan, བོད་སྐད་, བོད་ཡིག
    br  | bre                         | Breton, brezhoneg
    bs  | bos                         | Bosnian, bosanski
    ca  | cat                         | Catalan, Valencian, català, valencià
    cs  | ces cze cz                  | Czech, čeština, český, česky
    cy  | cym wel                     | Welsh, Cymraeg
    da  | dan dk                      | Danish, dansk
    de  | deu ger gsw                 | German, Deutsch
    el  | ell gre gr                  | Greek, Ελληνικά
    en  | eng us gb usa               | English
    es  | spa sp                      | Spanish, Castilian, español, castellano
    et  | est ekk                     | Estonian, eesti, eesti keel
    eu  | eus baq                     | Basque, euskara
    fa  | fas per pes prs             | Persian, Farsi, Dari, فارسی
    fi  | fin                         | Finnish, suomi
    fo  | fao                         | Faroese, føroyskt
    fr  | fra fre                     | French, français
    gl  | glg                         | Galician, galego
    gu  | guj                         | Gujarati, ગુજરાતી
    ha  | hau                         | Hausa
    haw |                             | Hawaiian, ʻŌlelo Hawaiʻi
    he  | heb iw                      | Hebrew, עברית
    hi  | hin                         | Hindi, हिन्दी, हिंदी
    hr  | hrv scr                     | Croatian, hrvatski
    ht  | hat                         | Haitian Creole, Haitian, Kreyòl Ayisyen, Kreyòl
    hu  | hun                         | Hungarian, magyar
    hy  | hye arm                     | Armenian, հայերեն
    id  | ind in                      | Indonesian, Bahasa Indonesia, Indonesia
    is  | isl ice                     | Icelandic, íslenska
    it  | ita                         | Italian, italiano
    ja  | jpn jp                      | Japanese, 日本語
    jw  | jav jv                      | Javanese, Basa Jawa, Jawa
    ka  | kat geo                     | Georgian, ქართული
    kk  | kaz kz                      | Kazakh, қазақ, қазақ тілі, қазақша
    km  | khm                         | Khmer, Cambodian, ខ្មែរ, ភាសាខ្មែរ
    kn  | kan                         | Kannada, ಕನ್ನಡ
    ko  | kor kr                      | Korean, 한국어, 한국말
    la  | lat                         | Latin, Latina
    lb  | ltz                         | Luxembourgish, Letzeburgesch, Lëtzebuergesch
    ln  | lin                         | Lingala
    lo  | lao                         | Lao, ລາວ, ພາສາລາວ
    lt  | lit                         | Lithuanian, lietuvių, lietuvių kalba
    lv  | lav lvs                     | Latvian, latviešu, latviešu valoda
    mg  | mlg plt                     | Malagasy
    mi  | mri mao                     | Maori, te reo Māori, te reo
    mk  | mkd mac                     | Macedonian, македонски
    ml  | mal                         | Malayalam, മലയാളം
    mn  | mon khk                     | Mongolian, монгол, монгол хэл
    mr  | mar                         | Marathi, मराठी
    ms  | msa may zsm                 | Malay, Malaysian, Bahasa Melayu, Bahasa Malaysia, Melayu
    mt  | mlt                         | Maltese, Malti
    my  | mya bur                     | Burmese, Myanmar, မြန်မာ, မြန်မာဘာသာ
    ne  | nep npi                     | Nepali, नेपाली
    nl  | nld dut                     | Dutch, Flemish, Nederlands, Vlaams
    nn  | nno                         | Norwegian Nynorsk, Nynorsk, norsk nynorsk
    no  | nor nb nob                  | Norwegian, Norwegian Bokmål, Bokmål, norsk, norsk bokmål
    oc  | oci                         | Occitan
    pa  | pan                         | Punjabi, Panjabi, ਪੰਜਾਬੀ, پنجابی
    pl  | pol                         | Polish, polski
    ps  | pus pbu                     | Pashto, Pushto, پښتو
    pt  | por                         | Portuguese, português
    ro  | ron rum mo mol              | Romanian, Moldavian, Moldovan, română, limba română
    ru  | rus                         | Russian, русский, русский язык
    sa  | san                         | Sanskrit, संस्कृत भाषा, संस्कृतम्
    sd  | snd                         | Sindhi, سنڌي
    si  | sin                         | Sinhala, Sinhalese, සිංහල
    sk  | slk slo                     | Slovak, slovenčina
    sl  | slv                         | Slovenian, Slovene, slovenščina
    sn  | sna                         | Shona, chiShona
    so  | som                         | Somali, Soomaali
    sq  | sqi alb als                 | Albanian, shqip
    sr  | srp scc rs                  | Serbian, српски, srpski
    su  | sun                         | Sundanese, Basa Sunda
    sv  | swe                         | Swedish, svenska
    sw  | swa swh                     | Swahili, Kiswahili
    ta  | tam                         | Tamil, தமிழ்
    te  | tel                         | Telugu, తెలుగు
    tg  | tgk                         | Tajik, тоҷикӣ, забони тоҷикӣ
    th  | tha                         | Thai, ไทย, ภาษาไทย
    tk  | tuk                         | Turkmen, türkmen dili, türkmençe
    tl  | tgl fil ph                  | Tagalog, Filipino, Pilipino, Wikang Filipino
    tr  | tur                         | Turkish, Türkçe
    tt  | tat                         | Tatar, татар, татар теле, татарча
    uk  | ukr ua                      | Ukrainian, українська, українська мова
    ur  | urd pk                      | Urdu, اردو
    uz  | uzb uzn                     | Uzbek, o‘zbek, o‘zbekcha
    vi  | vie vn                      | Vietnamese, Tiếng Việt
    yi  | yid ydd ji                  | Yiddish, ייִדיש
    yo  | yor                         | Yoruba, Èdè Yorùbá
    yue | zh-yue                      | Cantonese, Cantonese Chinese, 粵語, 粤语, 廣東話, 广东话
    zh  | zho chi cmn zh-cmn cn       | Chinese, Mandarin, Mandarin Chinese, 中文, 汉语, 漢語, 普通话, 普通話, 國語
"""
_ROWS = [[part.strip() for part in line.split("|")] for line in _TABLE.strip().splitlines()]

#: Whisper's codes. Kept here so that functions need no engine to check an option.
LANGUAGES = tuple(code for code, _, _ in _ROWS)

#: What tools write for a language that is not known, or for several (ISO 639-2).
_ANY = ("auto", "und", "mul", "mis", "detect", "automatic", "any", "none", "null")

#: BCP 47: a language, perhaps followed by script, region and variants (https://www.rfc-editor.org/info/bcp47).
_TAG = re.compile(r"([a-z]{2,3})((?:-[a-z0-9]{1,8})*)")
#: A locale of POSIX has an encoding and a variant behind the tag: `de_DE.UTF-8`, `de_DE@euro`.
_LOCALE_TAIL = re.compile(r"[.@][\w.@-]*$")
#: What people add to a name: `English (US)`, `Español - México`.
_ADDITION = re.compile(r"\s*[(（\[].*[)）\]]\s*$|\s+-\s+.*$")


def language_of(text: str) -> str | None:
    """Whisper's code of the language that a text names, by a code, a BCP 47 tag, a locale or a name; None for any.

    Raises ValueError if it names none of Whisper's languages, or several.
    """
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", unicodedata.normalize("NFKC", text)).strip(" \t\n\"'")
    tag = _LOCALE_TAIL.sub("", text.lower().replace("_", "-"))
    if tag in _ANY:
        return None
    for found in (_of_tag(tag), _named(text), _named(_ADDITION.sub("", text)), _kind_of(text)):
        if found:
            return found
    raise ValueError(text)


def _of_tag(tag: str) -> str | None:
    if not (match := _TAG.fullmatch(tag)):
        return None
    language, rest = match.groups()
    extended = language + "-" + rest[1:].partition("-")[0]  # `zh-yue` is Cantonese; a region or script says nothing
    return _CODES.get(extended) or _CODES.get(language)


def _kind_of(text: str) -> str | None:
    """The language of `Brazilian Portuguese` or `US English`; two languages are none."""
    words = _ADDITION.sub("", text).split()
    return _named(words[1]) if len(words) == 2 and not _named(words[0]) else None


def _named(text: str) -> str | None:
    return _NAMES.get(_folded(text))


def _folded(name: str) -> str:
    """A name without case, accents, apostrophes and blanks, none of which people agree on."""
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(char for char in parts if char.isalnum() or unicodedata.category(char) == "Mc")


_CODES = {code: row[0] for row in _ROWS for code in (row[0], *row[1].split())}
_NAMES = {_folded(name): code for code, _, names in _ROWS for name in names.split(",")}
