//! The lines on which tokenizers are compared: those of a committed corpus, then
//! mixtures that are drawn from a fixed seed.

/// Lines of the whole set.
pub(crate) const LINES: usize = 10_240;

const CORPUS: &str = include_str!("../../../../tests/golden/corpus.txt");

/// Pictures in the corpus for what an editor would not keep.
const PICTURES: [(char, char); 8] = [
    ('␉', '\t'),
    ('␊', '\n'),
    ('␍', '\r'),
    ('␀', '\0'),
    ('␇', '\u{7}'),
    ('␈', '\u{8}'),
    ('␛', '\u{1b}'),
    ('␡', '\u{7f}'),
];

const SPACES: &[&str] = &[
    " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\r\n", " \n", "\n ", "\t\t", "        ", "\u{a0}",
    "\u{3000}", "\u{2028}", "\u{b}", "\u{c}", "\u{85}", "\u{200b}", "\u{feff}", "\u{2003}",
];

const WORDS: &[&str] = &[
    "a",
    "I",
    "the",
    "and",
    "system",
    "model",
    "token",
    "tokens",
    "running",
    "don't",
    "it's",
    "2024",
    "42",
    "7",
    "x=1",
    "foo_bar",
    "Zürich",
    "été",
    "naïve",
    "東京",
    "Москва",
    "hello",
    "Hello",
    "HELLO",
    "ing",
    "tion",
    ".",
    ",",
    ";",
    ":",
    "!",
    "?",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "-",
    "_",
    "/",
    "\\",
    "|",
    "@",
    "#",
    "$",
    "%",
    "^",
    "&",
    "*",
    "+",
    "=",
    "~",
    "`",
    "\"",
    "'",
    "नमस्ते",
    "مرحبا",
    "안녕",
    "สวัสดี",
    "שלום",
];

const EMOJI: &[&str] = &[
    "😀",
    "👍🏽",
    "👩‍👩‍👧‍👦",
    "🇫🇷🇯🇵",
    "❤️",
    "☀️",
    "🏳️‍🌈",
    "🔥🔥🔥",
    "👨🏿‍💻",
    "1️⃣",
    "🧑‍🚀",
    "✅",
    "→",
    "∑∏√∞≠≤",
    "♠♥♦♣",
    "\u{200d}",
    "\u{fe0f}",
    "🇩",
    "🏽",
    "\u{301}",
    "\u{20e3}",
];

/// What special tokens of the families are written as.
const SPECIAL: &[&str] = &[
    "<s>",
    "</s>",
    "<unk>",
    "<pad>",
    "<bos>",
    "<eos>",
    "<mask>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[UNK]",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|user|>",
    "<|end|>",
    "<|assistant|>",
    "<|fim_prefix|>",
    "<｜User｜>",
    "<｜end▁of▁sentence｜>",
    "<|start|>",
    "<|return|>",
    "<0x0A>",
    "<unused7>",
    "<table>",
    "|||IP_ADDRESS|||",
    "\u{2581}",
    "\u{2581}\u{2581}",
    "<|",
    "|>",
    "<",
    "[",
    "</",
];

/// Scripts and blocks, of assigned characters almost everywhere.
const RANGES: &[(u32, u32)] = &[
    (0x20, 0x7f),
    (0x20, 0x7f),
    (0x00, 0x20),
    (0xa0, 0x250),
    (0x300, 0x370),
    (0x391, 0x3ca),
    (0x410, 0x450),
    (0x5d0, 0x5eb),
    (0x620, 0x650),
    (0x905, 0x940),
    (0xe01, 0xe3b),
    (0x2010, 0x2028),
    (0x2190, 0x2200),
    (0x2500, 0x2580),
    (0x3041, 0x3097),
    (0x30a1, 0x30fb),
    (0x4e00, 0x9fa6),
    (0xac00, 0xd7a4),
    (0x1f300, 0x1f650),
    (0x10000, 0x1000c),
    (0x1d400, 0x1d455),
    (0x1100, 0x1200),
    (0xff01, 0xff5f),
];

/// SplitMix64: the same on every machine, for ever.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n`, without `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn characters(&mut self, ranges: &[(u32, u32)], most: usize, out: &mut String) {
        for _ in 0..=self.below(most) {
            let (from, to) = ranges[self.below(ranges.len())];
            let code = from + self.below((to - from) as usize) as u32;
            out.extend(char::from_u32(code));
        }
    }
}

/// [`LINES`] lines; none empty, none twice.
pub(crate) fn lines() -> Vec<String> {
    let mut made = Vec::with_capacity(LINES);
    let mut seen = std::collections::HashSet::new();
    let mut take = |line: String, made: &mut Vec<String>| {
        if !line.is_empty() && seen.insert(line.clone()) {
            made.push(line);
        }
    };
    let corpus = CORPUS.lines().map(unpicture).collect::<Vec<_>>();
    let fixed =
        corpus.iter().map(String::as_str).chain(SPACES.iter().copied()).chain(SPECIAL.iter().copied());
    fixed.for_each(|line| take(line.to_owned(), &mut made));
    let mut draw = Draw(4);
    while made.len() < LINES {
        let line = line(&mut draw, &corpus);
        take(line, &mut made);
    }
    made
}

fn line(draw: &mut Draw, corpus: &[String]) -> String {
    let mut line = String::new();
    match draw.below(8) {
        // Words and odd white space.
        0 | 1 => {
            for _ in 0..=draw.below(24) {
                line += draw.of(WORDS);
                line += if draw.below(3) > 0 { " " } else { draw.of(SPACES) };
            }
        }
        // Any characters of a script or two.
        2 => {
            let two = [RANGES[draw.below(RANGES.len())], RANGES[draw.below(RANGES.len())]];
            draw.characters(&two, 24, &mut line);
        }
        // Pieces of sentences.
        3 | 4 => {
            for _ in 0..=draw.below(3) {
                let whole = corpus[draw.below(corpus.len())].chars().collect::<Vec<_>>();
                let start = draw.below(whole.len());
                let end = (start + 1 + draw.below(60)).min(whole.len());
                line.extend(&whole[start..end]);
            }
        }
        // Digits and punctuation.
        5 => {
            for _ in 0..=draw.below(30) {
                line += draw.of(&[
                    "0", "1", "2", "3", "45", "678", "9", ".", ",", ":", "-", "+", "/", "%", "$", " ", "e",
                    "x",
                ]);
            }
        }
        // Emoji among words.
        6 => {
            for _ in 0..=draw.below(12) {
                let from = [EMOJI, WORDS, SPACES][draw.below(3)];
                line += draw.of(from);
            }
        }
        // Special tokens in the middle of everything.
        _ => {
            for _ in 0..=draw.below(8) {
                let from = [SPECIAL, SPECIAL, WORDS, SPACES, EMOJI][draw.below(5)];
                line += draw.of(from);
            }
        }
    }
    line
}

fn unpicture(line: &str) -> String {
    line.chars()
        .map(|c| PICTURES.iter().find(|(picture, _)| *picture == c).map_or(c, |(_, real)| *real))
        .collect()
}

/// FNV-1a over ids and a mark between lines: what the files of goldens hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    pub(crate) fn ids(self, ids: &[u32]) -> Self {
        ids.iter().fold(self, |hash, id| hash.bytes(&id.to_le_bytes())).bytes(&u32::MAX.to_le_bytes())
    }
}
