"""English: names after a label or a title, dates of birth after a label, street addresses of the United States, e-mail addresses, labelled record numbers.

A name without a label is not looked for: capitalised words are diseases and drugs more often than persons. A date is one of birth only where it says so.
"""

from __future__ import annotations

from medfinetune_api.results_privacy import PersonalData

from medfinetune_trainer.privacy.rules import COLON, GAP, Rule, any_of

_WORD = r"\p{Lu}[\p{L}'’-]{1,20}"
_NO_NAME = rf"(?!{any_of('I', 'Yes', 'No', 'None', 'Not', 'Unknown', 'Hello', 'Hi', 'Dear', 'Good', 'Thank', 'Thanks', 'My', 'The', 'This', 'Doctor')}\b)"
"""What begins a turn of a dialogue, or says that there is no name."""
_NEXT = rf"[ \t]+(?!\p{{L}}{{1,20}}{GAP}[:：])(?:{_WORD}|\p{{Lu}}\b\.?|de|van|von)"
"""A further word of a name, which is not the label of the next field."""
_FAMILY_FIRST = rf"{_WORD},[ \t]?{_WORD}(?:[ \t]\p{{Lu}}\b\.?)?"
_WHOLE_NAME = any_of(_FAMILY_FIRST, rf"{_WORD}(?:{_NEXT}){{1,3}}")
_ANY_NAME = any_of(_FAMILY_FIRST, rf"{_WORD}(?:{_NEXT}){{0,3}}")
_TITLE = r"(?:(?:Mr|Mrs|Ms|Miss|Dr|Prof)\b\.?[ \t]*)?"
_CERTAIN = (
    r"\b(?i:(?:patient|pt\.?|mother|father|guardian|spouse|contact)(?:['’]s)?[ ]name|name[ ]of[ ](?:the[ ])?patient"
    r"|(?:full|first|last|given|family|maiden)[ ]name|surname|next[ ]of[ ]kin|emergency[ ]contact)"
)
_POSSIBLE = r"(?<!\p{L}[ \t])\b(?i:patient|pt|name|mother|father|guardian|spouse|(?:attending|referring)[ ]physician|physician|surgeon|nurse)"

NAMES = Rule(
    "EnglishLabelledName",
    PersonalData.PERSON,
    (
        rf"{_CERTAIN}(?:{COLON}|[ \t]+is[ \t]+){_TITLE}\K{_NO_NAME}{_ANY_NAME}",
        rf"{_POSSIBLE}{COLON}{_TITLE}\K{_NO_NAME}{_WHOLE_NAME}",
        rf"\b(?:Mr|Mrs|Ms)\b\.?[ \t]+\K{_WORD}(?:{_NEXT}){{0,2}}",
    ),
)

_MONTH = r"(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
DATE = any_of(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}",
    r"\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})",
    rf"{_MONTH}[ ]{_DAY},?[ ]\d{{4}}",
    rf"{_DAY}[ -](?:of[ ])?{_MONTH},?[ -]\d{{4}}",
)

_BORN = r"\b(?i:d\.?o\.?b\.?|date[ ]of[ ]birth|birth[ ]?date|birthday|born)(?:[ ]?\([^)\n]{1,20}\))?"

BIRTH = Rule(
    "EnglishLabelledBirth",
    PersonalData.DATE_OF_BIRTH,
    (rf"{_BORN}(?i:{COLON}|[ \t]+(?:is|was|on)\b)?{GAP}\(?\K{DATE}(?!\d)",),
)

_STREET = any_of(
    "Street", "St", "Avenue", "Ave", "Road", "Rd", "Boulevard", "Blvd", "Drive", "Dr", "Lane", "Ln", "Court", "Ct", "Way", "Place", "Pl", "Terrace",
    "Circle", "Parkway", "Pkwy", "Highway", "Hwy", "Pike",
)  # fmt: skip
_WAY = r"(?:(?:\p{Lu}[\p{L}'.]{1,20}|\d{1,3}(?:st|nd|rd|th))[ \t]+){1,3}"
_UNIT = r"(?:,?[ \t]+(?:Apt|Apartment|Suite|Ste|Unit|Room|#)\b?\.?[ \t]?[\w-]{1,6})?"
_TOWN = r"(?:,?[ \t\n]{1,2}(?:\p{Lu}[\p{L}.]{1,20}[ ]?){1,3},?[ \t]+[A-Z]{2}[ \t]+\d{5}(?:-\d{4})?)?"

ADDRESS = Rule(
    "EnglishStreetAddress",
    PersonalData.ADDRESS,
    (
        rf"(?<![\d.,/-])\b\d{{1,5}}[ \t]+(?:[NSEW]\.?[ \t]+)?{_WAY}{_STREET}\b\.?(?:[ ][NS][EW]\b)?{_UNIT}{_TOWN}",
        rf"\bP\.?[ ]?O\.?[ ]Box[ ]\d{{1,7}}\b{_TOWN}",
    ),
)

MAIL = Rule(
    "EmailAddress",
    PersonalData.EMAIL_ADDRESS,
    (r"(?<![\w.+%'-])[\w.+%'-]{1,64}@(?:[\p{L}\d](?:[\p{L}\d-]{0,62})\.){1,8}\p{L}{2,24}\b",),
    0.9,
)

RECORD = Rule(
    "EnglishLabelledRecordNumber",
    PersonalData.RECORD_NUMBER,
    (
        r"\b(?i:MRN|(?:medical[ ]record|chart|hospital|patient)[ ](?:number|no\b\.?|id\b|\#))(?:[ \t]+is\b|[ \t]*[:：=#]{1,2})?[ \t]*"
        r"\K(?:[A-Z]{1,4}-?)?\d[\d-]{3,15}(?![\d.])",
    ),
)

RULES = (NAMES, BIRTH, ADDRESS, MAIL, RECORD)
