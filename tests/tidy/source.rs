//! A Rust source as words, marks, texts and comments: as much of the language as the rules need.
//!
//! Not a parser. It tells code from comments and literals, and what is compiled for tests alone
//! from the rest, so that a rule about code is not broken by a word in a sentence.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Identifier, keyword or number.
    Word,
    /// One character, or `::`.
    Mark,
    /// Content of a string literal.
    Text,
    /// Content of a comment.
    Comment,
}

/// A piece of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: Kind,
    /// How it reads.
    pub(crate) text: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Whether it is compiled for tests alone.
    pub(crate) test: bool,
}

/// A source file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    /// Its tokens, comments left out.
    pub(crate) code: Vec<Token>,
    /// Its comments.
    pub(crate) comments: Vec<Token>,
    /// Modules in files of their own that are compiled for tests alone, as paths without `.rs`.
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    /// Reads a source.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (comments, mut code): (Vec<_>, Vec<_>) =
            tokens(text).into_iter().partition(|token| token.kind == Kind::Comment);
        let test_modules = mark_tests(path, &mut code);
        if is_test_file(path) {
            for token in &mut code {
                token.test = true;
            }
        }
        Self { path: path.to_owned(), text: text.to_owned(), code, comments, test_modules }
    }

    /// Returns whether code at `at` reads as `pattern`, token by token.
    pub(crate) fn reads(&self, at: usize, pattern: &[&str]) -> bool {
        let tokens = self.code.get(at..).unwrap_or_default();
        tokens.len() >= pattern.len()
            && tokens
                .iter()
                .zip(pattern)
                .all(|(token, text)| token.kind != Kind::Text && token.text == *text)
    }
}

/// Returns whether everything in a file is for tests, by where it lies.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, line: 1, tokens: Vec::new() };
    while reader.at < chars.len() {
        reader.step();
    }
    reader.tokens
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn take(&mut self) -> char {
        let taken = self.peek(0);
        self.at += 1;
        self.line += usize::from(taken == '\n');
        taken
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.tokens.push(Token { kind, text, line, test: false });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            (c, _) if c.is_whitespace() => {
                self.take();
            }
            ('/', '/') => {
                let text = self.take_while(|c| c != '\n');
                self.push(Kind::Comment, text, line);
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.text(),
            ('b' | 'c', '"') => {
                self.take();
                self.text();
            }
            ('r', '"' | '#') if self.raw_text(1) => {}
            ('b' | 'c', 'r') if self.raw_text(2) => {}
            ('\'', _) => self.quote(),
            (c, _) if word(c) => {
                let text = self.take_while(word);
                self.push(Kind::Word, text, line);
            }
            (':', ':') => {
                self.at += 2;
                self.push(Kind::Mark, "::".to_owned(), line);
            }
            _ => {
                let mark = self.take();
                self.push(Kind::Mark, mark.to_string(), line);
            }
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while self.at < self.chars.len() && wanted(self.peek(0)) {
            text.push(self.take());
        }
        text
    }

    fn block_comment(&mut self) {
        let (line, mut depth, mut text) = (self.line, 0_u32, String::new());
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    text.push(self.take());
                    if self.at >= self.chars.len() {
                        break;
                    }
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                break;
            }
        }
        self.push(Kind::Comment, text, line);
    }

    fn text(&mut self) {
        let (line, mut text) = (self.line, String::new());
        self.take();
        while self.at < self.chars.len() {
            match self.take() {
                '"' => break,
                '\\' => {
                    self.take();
                }
                c => text.push(c),
            }
        }
        self.push(Kind::Text, text, line);
    }

    /// Reads a raw string whose hashes begin `skip` characters on; false if there is none.
    fn raw_text(&mut self, skip: usize) -> bool {
        let hashes = self.chars[(self.at + skip).min(self.chars.len())..]
            .iter()
            .take_while(|c| **c == '#')
            .count();
        if self.peek(skip + hashes) != '"' {
            return false;
        }
        let (line, mut text) = (self.line, String::new());
        self.at += skip + hashes + 1;
        let ends = |reader: &Self| {
            reader.peek(0) == '"' && (1..=hashes).all(|ahead| reader.peek(ahead) == '#')
        };
        while self.at < self.chars.len() && !ends(self) {
            text.push(self.take());
        }
        self.at += hashes + 1;
        self.push(Kind::Text, text, line);
        true
    }

    /// Reads a character literal or a lifetime.
    fn quote(&mut self) {
        self.take();
        if self.peek(0) == '\\' {
            self.at += 2;
            self.take_while(|c| c != '\'');
            self.take();
        } else if self.peek(1) == '\'' {
            self.take();
            self.take();
        } else {
            self.take_while(word);
        }
    }
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Marks items under `#[cfg(test)]`; returns those that are modules in files of their own.
fn mark_tests(path: &str, code: &mut [Token]) -> Vec<String> {
    let mut modules = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let end = attribute_end(code, at);
        let attribute = |word: &str| code[at..end].iter().any(|token| token.text == word);
        if end == at || !attribute("cfg") || !attribute("test") || attribute("not") {
            at = end.max(at + 1);
            continue;
        }
        let mut item = end;
        while attribute_end(code, item) > item {
            item = attribute_end(code, item);
        }
        let close = item_end(code, item);
        let declared = code[item..close].iter().position(|token| token.text == "mod");
        if let Some(mod_at) = declared.map(|offset| item + offset)
            && code.get(mod_at + 2).is_some_and(|token| token.text == ";")
        {
            modules.push(format!("{}/{}", module_dir(path), code[mod_at + 1].text));
        }
        for token in &mut code[at..close] {
            token.test = true;
        }
        at = close;
    }
    modules
}

/// Returns the index after the attribute at `at`, or `at` if there is none.
fn attribute_end(code: &[Token], at: usize) -> usize {
    let is = |at: usize, text: &str| code.get(at).is_some_and(|token| token.text == text);
    if !is(at, "#") || !is(at + 1, "[") {
        return at;
    }
    let mut depth = 0_u32;
    for (offset, token) in code[at + 1..].iter().enumerate().filter(|(_, t)| t.kind == Kind::Mark) {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 2 + offset;
        }
    }
    code.len()
}

/// Returns the index after the item at `at`: its closing brace or semicolon.
fn item_end(code: &[Token], at: usize) -> usize {
    let mut depth = 0_u32;
    for (offset, token) in code[at..].iter().enumerate().filter(|(_, t)| t.kind == Kind::Mark) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            "}" if depth == 1 => return at + offset + 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return at + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Returns the directory in which modules of the file at `path` lie.
fn module_dir(path: &str) -> String {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
        _ => format!("{dir}/{}", file.trim_end_matches(".rs")),
    }
}
