"""The 39 phones and silence that frames are labelled with, and how two synthesisers spell them."""

from __future__ import annotations

SILENCE = "pau"
_SPELLED = (
    "pau aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th "
    "uh uw v w y z zh"
)
PHONES = _SPELLED.split()
IGNORED = 255  # label of frames whose phone cannot be known; training skips them
PHONE_ID = {phone: number for number, phone in enumerate(PHONES)} | {"?": IGNORED}

# flite writes ARPAbet already; schwa joins `ah` as in the usual 39-phone folding.
FLITE_FOLDING = {"ax": "ah", "axr": "er", "ix": "ih", "el": "l", "em": "m", "en": "n"}

# espeak-ng's names of the sounds in its English accents. A sound that ARPAbet spells with two
# phones takes both; the first gets the larger share of its time.
_ESPEAK_ONE = {
    "aa": "A: A A# aa 0 O2 02",
    "ae": "a a2 &",
    "ah": "@ @2 @5 @- a# V @: V#",
    "ao": "O: O O@ O@2",
    "aw": "aU",
    "ay": "aI aI2",
    "b": "b",
    "ch": "tS",
    "d": "d d2 d#",
    "dh": "D",
    "eh": "E E2",
    "er": "3: 3 VR IR 3:r",
    "ey": "eI e:",
    "f": "f",
    "g": "g",
    "hh": "h H",
    "ih": "I I2 I#",
    "iy": "i: i I:",
    "jh": "dZ",
    "k": "k k2 x",
    "l": "l l# L",
    "m": "m m-",
    "n": "n n-",
    "ng": "N",
    "ow": "oU o:",
    "oy": "OI",
    "p": "p",
    "r": "r r- r/ R",
    "s": "s",
    "sh": "S",
    "t": "t t# t2 t[ ?",
    "th": "T",
    "uh": "U",
    "uw": "u: u U:",
    "v": "v",
    "w": "w w#",
    "y": "j",
    "z": "z z#",
    "zh": "Z",
    "pau": "_ _: _! _| _:: _::: _;_",
}
ESPEAK = {name: (phone,) for phone, names in _ESPEAK_ONE.items() for name in names.split()}
ESPEAK |= {
    "@L": ("ah", "l"),
    "e@": ("eh", "er"),
    "A@": ("aa", "r"),
    "O@": ("ao", "r"),
    "o@": ("ao", "r"),
    "U@": ("uh", "r"),
    "i@3": ("ih", "r"),
    "i@": ("iy", "ah"),
    "aI@": ("ay", "er"),
    "aI3": ("ay", "er"),
    "aU@": ("aw", "er"),
}
# In the accents without r after vowels these end open; their schwa may stand for `er` or `ah`.
ESPEAK_WITHOUT_R = {
    "e@": ("eh", "ah"),
    "A@": ("aa",),
    "O@": ("ao",),
    "o@": ("ao",),
    "U@": ("uh", "ah"),
    "i@3": ("ih", "ah"),
    "aI@": ("ay", "ah"),
    "aI3": ("ay", "ah"),
    "aU@": ("aw", "ah"),
    "aa": ("aa",),
    "a#": ("?",),
}
ESPEAK_WITH_R = {"aa": ("ae",)}
FIRST_SHARE = 0.6  # of the time of a sound that takes two phones

# Scottish sounds that espeak-ng's own Scottish voice lacks: what it writes, what is said instead
# (several ways), and the one phone that all of it is labelled with.
SCOTTISH = {
    "3:": (("V r", "E r", "@ r", "3:"), "er"),
    "3": (("V r", "@ r", "I r", "3"), "er"),
    "VR": (("V r", "VR"), "er"),
    "IR": (("I r", "V r", "IR"), "er"),
    "aU": (("V u", "E u", "@ U", "V U", "aU"), "aw"),
    "U": (("u", "I2", "U"), "uh"),
}
