//! Fuzzing on the stable compiler: mutations of a corpus for each parser of foreign text.
//!
//! A corpus is a file `tests/fuzz/PARSER.txt`, one input a line, escaped as in a Rust string. A failing input is printed as such a
//! line. `EMMETT_FUZZ_TIMES` multiplies the number of inputs.

use serde_json::{Map, Value};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No parser takes longer for an input of a few kilobytes, not even on a machine that is busy.
const HANGS: Duration = Duration::from_secs(30);
const LONGEST_INPUT: usize = 8_192;
/// Characters that mean something to one of the parsers, and characters of two, three and four bytes.
const SPECIAL: &[&str] = &[
    "'", "\"", "\\", "$", "$$", "-", "--", "/*", "*/", ";", ":", "@", "%", "%00", "/", "?", "&",
    "=", "[", "]", "{", "}", "(", ")", ",", ".", "..", "*", "#", "0", "9", "-1", "1e400", "\0",
    "\\u0000", "\\ud800", "\n", "\r", "\t", " ", "_", "e", "E'", "\u{a0}", "é", "€", "𝄞",
    "\u{2028}",
];
const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e308",
    "9007199254740993",
    "18446744073709551616",
    "\"\"",
    "\"a\"",
    "\"$a\"",
    "\"a.b\"",
    "\"a'b\"",
    "\"\\u0000\"",
    "\"€\"",
    "[]",
    "{}",
    "[[]]",
];

/// Whether an input kept to the rules, or what it did.
pub(crate) type Outcome = Result<(), String>;

/// A run of one parser.
pub(crate) struct Fuzz {
    parser: &'static str,
    inputs: usize,
}

impl Fuzz {
    pub(crate) fn parser(parser: &'static str) -> Self {
        Self {
            parser,
            inputs: 20_000,
        }
    }

    pub(crate) fn inputs(mut self, inputs: usize) -> Self {
        self.inputs = inputs;
        self
    }

    /// Checks each input of the corpus, then mutations. Fails when a check panics, returns an error or hangs.
    pub(crate) fn run(self, mut check: impl FnMut(&[u8]) -> Outcome + Send + 'static) {
        let corpus = Corpus::read(self.parser);
        let mut generator = Generator::new(&corpus);
        let times = std::env::var("EMMETT_FUZZ_TIMES").map_or(1, |times| {
            times.parse().expect("EMMETT_FUZZ_TIMES is a number")
        });
        let mutations = self.inputs * times;
        let current = Arc::new(Mutex::new(Vec::new()));
        let tried = Arc::clone(&current);
        let (progress, progressed) = sync_channel(1);
        let worker = std::thread::Builder::new()
            .name(format!("fuzz {}", self.parser))
            .spawn(move || {
                let mutations = (0..mutations).map(|_| generator.next());
                for input in corpus.seeds.iter().cloned().chain(mutations) {
                    tried
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone_from(&input);
                    if let Err(problem) = outcome(&mut check, &input) {
                        // Making the input smaller takes its time, and is no progress.
                        drop(progress);
                        return Err(report(&mut check, input, &problem));
                    }
                    // Full where the last one was not seen yet.
                    let _ = progress.try_send(());
                }
                Ok(())
            })
            .expect("a thread");
        loop {
            match progressed.recv_timeout(HANGS) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let input = current.lock().unwrap_or_else(PoisonError::into_inner);
                    panic!("{} hangs: {}", self.parser, input.escape_ascii());
                }
            }
        }
        if let Err(report) = worker.join().expect("panics are caught") {
            panic!("{}: {report}", self.parser);
        }
    }
}

fn outcome(check: &mut impl FnMut(&[u8]) -> Outcome, input: &[u8]) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| check(input))).unwrap_or_else(|_| Err("it panics".to_owned()))
}

fn report(check: &mut impl FnMut(&[u8]) -> Outcome, input: Vec<u8>, problem: &str) -> String {
    let smallest = shrunk(check, input);
    let problem = outcome(check, &smallest)
        .err()
        .unwrap_or_else(|| problem.to_owned());
    format!(
        "{problem}\nthe input, as a line of the corpus:\n{}",
        smallest.escape_ascii()
    )
}

/// Takes pieces out of an input for as long as it fails without them.
fn shrunk(check: &mut impl FnMut(&[u8]) -> Outcome, mut input: Vec<u8>) -> Vec<u8> {
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start + piece <= input.len() {
            let without = [&input[..start], &input[start + piece..]].concat();
            if outcome(check, &without).is_err() {
                input = without;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
    input
}

/// Checks that generated SQL is one expression: all that it opens is closed, and it names no parameter that it is not given.
pub(crate) fn check_expression(sql: &str, parameters: usize) -> Outcome {
    let mut open = Vec::new();
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '\'' | '"' => quoted_length(rest, next, sql.len() - rest.len(), sql)?,
            '(' | '[' => {
                open.push(next);
                1
            }
            ')' | ']' if open.pop() != Some(if next == ')' { '(' } else { '[' }) => {
                return Err(format!("{next} closes nothing: {sql}"));
            }
            '$' => {
                let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                let number: usize = rest[1..=digits].parse().unwrap_or_default();
                if !(1..=parameters).contains(&number) {
                    return Err(format!("it has no parameter ${number}: {sql}"));
                }
                1 + digits
            }
            ';' => return Err(format!("a statement ends: {sql}")),
            _ if rest.starts_with("--") || rest.starts_with("/*") => {
                return Err(format!("a comment begins: {sql}"));
            }
            _ => next.len_utf8(),
        };
        rest = &rest[length..];
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("something is not closed: {sql}"))
    }
}

fn quoted_length(rest: &str, quote: char, at: usize, sql: &str) -> Result<usize, String> {
    let has_prefix = sql[..at].ends_with('E');
    let mut escaped = false;
    for (index, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = has_prefix,
            _ if character == quote => return Ok(index + 1),
            _ => {}
        }
    }
    Err(format!("a quote is not closed: {sql}"))
}

/// The inputs that a run begins with.
struct Corpus {
    seeds: Vec<Vec<u8>>,
}

impl Corpus {
    fn read(parser: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/{parser}.txt"));
        let text = std::fs::read(&path).expect("the corpus of the parser");
        let lines = text.split(|byte| *byte == b'\n');
        let seeds: Vec<_> = lines
            .filter(|line| !line.is_empty())
            .map(unescaped)
            .collect();
        assert!(seeds.len() > 1, "{} has too few inputs", path.display());
        Self { seeds }
    }
}

/// The opposite of `escape_ascii`.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut bytes = line.iter().copied();
    let mut unescaped = Vec::with_capacity(line.len());
    while let Some(byte) = bytes.next() {
        unescaped.push(match byte {
            b'\\' => escaped(&mut bytes).expect("an escape of Rust's"),
            _ => byte,
        });
    }
    unescaped
}

fn escaped(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    match bytes.next()? {
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'x' => {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()
        }
        literal => Some(literal),
    }
}

/// Makes inputs of those of a corpus.
struct Generator {
    random: Random,
    seeds: Vec<Vec<u8>>,
    /// Names, numbers and runs of signs that occur in them.
    words: Vec<Vec<u8>>,
    documents: Vec<Value>,
    keys: Vec<String>,
}

impl Generator {
    fn new(corpus: &Corpus) -> Self {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
        let words = corpus
            .seeds
            .iter()
            .flat_map(|seed| seed.chunk_by(|one, next| is_word(*one) == is_word(*next)))
            .map(<[u8]>::to_vec);
        let special = SPECIAL.iter().map(|text| text.as_bytes().to_vec());
        let documents: Vec<Value> = corpus
            .seeds
            .iter()
            .filter_map(|seed| serde_json::from_slice(seed).ok())
            .collect();
        let mut keys = Vec::new();
        for document in &documents {
            collect_keys(document, &mut keys);
        }
        Self {
            random: Random(RandomState::new().hash_one(())),
            seeds: corpus.seeds.clone(),
            words: words.chain(special).collect(),
            documents,
            keys,
        }
    }

    fn next(&mut self) -> Vec<u8> {
        if !self.documents.is_empty() && self.random.below(2) == 0 {
            return self.document().to_string().into_bytes();
        }
        let mut input = self.random.of(&self.seeds).clone();
        for _ in 0..=self.random.below(4) {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST_INPUT);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let (start, end) = self.range(input.len());
        match self.random.below(7) {
            0 => drop(input.drain(start..end)),
            1 => insert(input, start, &self.word()),
            2 => drop(input.splice(start..end, self.word())),
            3 => {
                let part = input[start..end].to_vec();
                insert(input, end, &part);
            }
            4 => {
                let other = self.random.of(&self.seeds);
                input.truncate(start);
                input.extend_from_slice(&other[self.random.below(other.len())..]);
            }
            5 => {
                let times = 1 << self.random.below(9);
                insert(input, start, &self.word().repeat(times));
            }
            _ => {
                let byte = u8::try_from(self.random.below(256)).unwrap_or_default();
                drop(input.splice(start..(start + 1).min(end), [byte]));
            }
        }
    }

    /// A document of the corpus with other values, fields or names in it.
    fn document(&mut self) -> Value {
        let mut document = self.random.of(&self.documents).clone();
        for _ in 0..=self.random.below(3) {
            let steps = self.random.below(6);
            let replacement = self.replacement();
            self.change(&mut document, steps, replacement);
        }
        document
    }

    fn replacement(&mut self) -> Value {
        let part = match self.random.below(4) {
            0 => serde_json::from_str(self.random.of::<&str>(SCALARS)).expect("a scalar"),
            1 => Value::String(String::from_utf8_lossy(&self.word()).into_owned()),
            _ => {
                let mut part = self.random.of(&self.documents);
                for _ in 0..self.random.below(5) {
                    let children = children(part);
                    if children.is_empty() {
                        break;
                    }
                    part = self.random.of::<&Value>(&children);
                }
                part.clone()
            }
        };
        match self.random.below(6) {
            0 => Value::Array(vec![part; 1 + self.random.below(2)]),
            1 => Value::Object(Map::from_iter([(self.key(), part)])),
            _ => part,
        }
    }

    /// Goes some steps into a document, and puts the replacement there.
    fn change(&mut self, document: &mut Value, steps: usize, replacement: Value) {
        match document {
            Value::Array(elements) if steps > 0 && !elements.is_empty() => {
                let index = self.random.below(elements.len());
                self.change(&mut elements[index], steps - 1, replacement);
            }
            Value::Object(fields) if steps > 0 && !fields.is_empty() => {
                let index = self.random.below(fields.len());
                let Some((name, mut value)) = fields.clone().into_iter().nth(index) else {
                    return;
                };
                self.change(&mut value, steps - 1, replacement);
                if self.random.below(4) == 0 {
                    fields.shift_remove(&name);
                }
                let name = if self.random.below(4) == 0 {
                    self.key()
                } else {
                    name
                };
                fields.insert(name, value);
            }
            _ => *document = replacement,
        }
    }

    fn key(&mut self) -> String {
        if self.keys.is_empty() || self.random.below(8) == 0 {
            return String::from_utf8_lossy(&self.word()).into_owned();
        }
        self.random.of(&self.keys).clone()
    }

    fn word(&mut self) -> Vec<u8> {
        self.random.of(&self.words).clone()
    }

    /// A part of something that long; mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.random.below(length + 1);
        let longest = if self.random.below(4) == 0 { length } else { 8 };
        let end = start + self.random.below(longest + 1);
        (start, end.min(length))
    }
}

/// Another one in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from(mixed >> 33).unwrap_or_default() % bound
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    drop(input.splice(at..at, part.iter().copied()));
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(elements) => elements.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn collect_keys(value: &Value, keys: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        keys.extend(fields.keys().cloned());
    }
    for child in children(value) {
        collect_keys(child, keys);
    }
}
