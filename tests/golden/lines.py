"""Lines of mixed text for the tokenizer's goldens: written or drawn here, from a
fixed seed, so that nothing is copied from anywhere."""

import random

ENGLISH = """The quick brown fox jumps over the lazy dog.
I've been there; they're not coming, we'll see, he'd know, she's right, it'S ODD.
An e-mail to someone@example.org, sent at 10:45 on 2024-02-29, cost $1,234.56 (or 99%).
"Quotes," 'single quotes', “curly quotes”, ‘more’ — dashes – and… ellipses.
Mr. O'Neill's co-worker didn't re-enter the state-of-the-art 24/7 café.
ALL CAPS AND camelCase AND snake_case AND kebab-case AND SCREAMING_SNAKE
visit https://example.org/a/b?c=d&e=f#g or ftp://host:21/~user/
3.14159265358979 0x1F 1e-9 007 1,000,000 ½ ² ₃ Ⅳ ④ ٣ ४ ๕
tabs\tand  double  spaces   and    more     and trailing   
   leading spaces
\tleading tab
a\u00a0non-breaking\u2003em\u3000ideographic\u200bzero-width\ufeffmark""".split("\n")

# ␉, ␊ and ␍ stand for the white space that they name.
CODE = r"""fn parse<'a, T: FromStr>(input: &'a str) -> Result<Vec<T>, ParseError<'a>> { f() }
let x = y.iter().map(|(a, b)| a * b).sum::<f32>() / n as f32;
if (a != b && c <= d || !e) { return a ? b : c; } // comment
for i in range(10):␊    print(f"{i:>3} {i**2}")␊␊␊if __name__ == '__main__':␊    main()
#include <stdio.h>␊int main(void) { printf("%d\n", 1 << 4); return 0; }
SELECT a.id, COUNT(*) FROM a LEFT JOIN b ON a.id = b.a_id WHERE a.x IN (1, 2, 3) GROUP BY 1;
<div class="row" id='x'><p>Hello&nbsp;<b>world</b></p></div>
{"key": [1, 2.5, null, true], "nested": {"a": "b\u00e9"}}
$ git log --oneline | head -n 5 && echo "done" > /dev/null 2>&1
\begin{equation} \int_0^\infty e^{-x^2} dx = \frac{\sqrt{\pi}}{2} \end{equation}
apiVersion: v1␊kind: Pod␊metadata:␊  name: x␊  labels: {app: y}
const f = async (x) => { await g(x ?? `default ${y}`); };
public static <T extends Comparable<? super T>> void sort(List<T> list) {}
␉if err != nil {␍␊␉␉return fmt.Errorf("read %q: %w", path, err)␍␊␉}
=== !== => -> <- <= >= ++ -- ** // /* */ <!-- --> ::: ... ??? !!! ###""".split("\n")
CODE = [line.translate(str.maketrans("␉␊␍", "\t\n\r")) for line in CODE]

WORLD = """中国的首都是北京，人口超过两千万。
日本語の文章です。カタカナとひらがな、漢字が混ざっています。
한국어 문장입니다. 오늘 날씨가 좋네요!
Привет, как дела? Это предложение на русском языке.
Η γρήγορη καφέ αλεπού πηδάει πάνω από το σκύλο.
مرحبا بالعالم، كيف حالك اليوم؟
שלום עולם, מה שלומך היום?
नमस्ते दुनिया, आज मौसम अच्छा है।
สวัสดีชาวโลก วันนี้อากาศดี
Xin chào thế giới, hôm nay trời đẹp.
Zażółć gęślą jaźń; příliš žluťoučký kůň; İstanbul'da ılık.
Größe, Füße, naïve, façade, señor, smørbrød, Þórr, œuvre, ﬁnal ﬂow
e\u0301 a\u0308 n\u0303 o\u0302\u0301 (combining) Å Å K
ქართული ენა, հայերեն, ລາວ, ខ្មែរ, አማርኛ, ᏣᎳᎩ, ⴰⵎⴰⵣⵉⵖ""".split("\n")

EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇫🇷🇯🇵", "❤️", "☀️", "🏳️‍🌈", "🔥🔥🔥", "👨🏿‍💻", "1️⃣", "🧑‍🚀", "✅", "→", "∑∏√∞≠≤", "♠♥♦♣"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\r\n", " \n", "\n ", "\t\t", "        ", "\u00a0", "\u3000", "\u2028", "\v", "\f"]
WORDS = "a I the and system model token tokens running don't it's 2024 42 7 x=1 foo_bar Zürich été naïve 東京 Москва hello Hello HELLO ing tion . , ; : ! ? ( ) [ ] { } - _ / \\ | @ # $ % ^ & * + = ~ ` \" '".split()
RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x400), (0x400, 0x530), (0x5D0, 0x5EB), (0x620, 0x650), (0x900, 0x970), (0xE01, 0xE3B), (0x2000, 0x2070), (0x2190, 0x2200), (0x2500, 0x2580), (0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0x1F300, 0x1F650), (0x10000, 0x10100), (0x1D400, 0x1D500)]


def assigned(code):
    import unicodedata

    return unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")


def lines(count=1500, seed=3):
    """All fixed lines, then drawn ones up to `count`; none empty, none twice."""
    draw = random.Random(seed)
    made = list(dict.fromkeys(ENGLISH + CODE + WORLD + EMOJI + SPACES))
    seen = set(made)
    while len(made) < count:
        kind = draw.randrange(5)
        if kind == 0:  # Words and odd white space.
            line = "".join(draw.choice(WORDS) + draw.choice([" ", " ", " ", "", draw.choice(SPACES)]) for _ in range(draw.randint(1, 24)))
        elif kind == 1:  # Any characters of a script or two.
            ranges = draw.sample(RANGES, 2)
            line = "".join(chr(draw.choice([c for c in [draw.randrange(*draw.choice(ranges)) for _ in range(8)] if assigned(c)] or [0x41])) for _ in range(draw.randint(1, 24)))
        elif kind == 2:  # Pieces of sentences in one line.
            whole = draw.sample(ENGLISH + CODE + WORLD, 2)
            line = "".join(s[draw.randrange(len(s)) :][: draw.randint(1, 60)] for s in whole)
        elif kind == 3:  # Digits and punctuation.
            line = "".join(draw.choice("0123456789012345678901234567890123456789.,:;-+/%$€() '") for _ in range(draw.randint(1, 30)))
        else:  # Emoji among words.
            line = "".join(draw.choice(EMOJI + WORDS + SPACES) for _ in range(draw.randint(1, 12)))
        if line and line not in seen:
            seen.add(line)
            made.append(line)
    return made
