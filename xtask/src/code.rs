//! Rust text taken apart as far as the house rules need: what is code, where comments begin, and what only tests see.
//!
//! A lexer of comments and literals, not a parser: no rule asks for more than words in code, and a syntax tree without
//! name resolution would see no alias or re-export that words do not.

/// A file's text, apart.
pub struct Code {
    /// The text with comments and literals replaced by spaces, line by line as long as it was.
    pub code: String,
    /// By line: the column (in characters) at which a line comment begins.
    pub comments: Vec<Option<usize>>,
}

impl Code {
    pub fn of(text: &str) -> Code {
        Lexer {
            rest: text.chars().peekable(),
            code: String::with_capacity(text.len()),
            comments: vec![None],
            column: 0,
        }
        .run()
    }

    /// The code without what stands behind `#[cfg(test)]`.
    pub fn without_tests(&self) -> String {
        let mut rest = self.code.as_str();
        let mut out = String::with_capacity(rest.len());
        while let Some((before, behind)) = rest.split_once(TEST_ONLY) {
            let item = item_bytes(behind);
            out.push_str(before);
            out.extend(TEST_ONLY.chars().chain(behind[..item].chars()).map(blank));
            rest = &behind[item..];
        }
        out.push_str(rest);
        out
    }
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// The words of code: names, keywords and numbers.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(c: char) -> char {
    if c == '\n' { c } else { ' ' }
}

/// How long the item at the front of `code` is: to its semicolon, or to the brace that closes its first one.
fn item_bytes(code: &str) -> usize {
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '{' => braces += 1,
            '}' => braces -= 1,
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            _ => {}
        }
        if (c == ';' && braces == 0 && others == 0) || (c == '}' && braces <= 0) {
            return at + 1;
        }
    }
    code.len()
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    code: String,
    comments: Vec<Option<usize>>,
    column: usize,
}

impl Lexer<'_> {
    fn run(mut self) -> Code {
        while let Some(&c) = self.rest.peek() {
            let behind_word = self.code.chars().next_back().is_some_and(is_word);
            match (c, self.second()) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', Some('\\')) => self.quoted('\''),
                ('\'', Some(_)) if self.nth(2) == Some('\'') => self.skip(3),
                ('r', Some('"' | '#')) if !behind_word || self.follows_prefix() => self.raw_string(),
                _ => self.keep(),
            }
        }
        Code { code: self.code, comments: self.comments }
    }

    fn nth(&self, n: usize) -> Option<char> {
        self.rest.clone().nth(n)
    }

    fn second(&self) -> Option<char> {
        self.nth(1)
    }

    /// The `b` or `c` of `br"…"` and `cr"…"`.
    fn follows_prefix(&self) -> bool {
        let mut before = self.code.chars().rev();
        matches!(before.next(), Some('b' | 'c')) && !before.next().is_some_and(is_word)
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.column += 1;
        if c == '\n' {
            self.column = 0;
            self.comments.push(None);
        }
        Some(c)
    }

    fn keep(&mut self) {
        let c = self.take();
        self.code.extend(c);
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            let c = self.take();
            self.code.extend(c.map(blank));
        }
    }

    fn line_comment(&mut self) {
        let column = self.column;
        if let Some(line) = self.comments.last_mut() {
            *line = Some(column);
        }
        while self.rest.peek().is_some_and(|c| *c != '\n') {
            self.skip(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.nth(0), self.second()) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (None, _) => return,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.quoted('"');
    }

    fn quoted(&mut self, quote: char) {
        self.skip(1);
        while let Some(&c) = self.rest.peek() {
            self.skip(if c == '\\' { 2 } else { 1 });
            if c == quote {
                return;
            }
        }
    }

    fn raw_string(&mut self) {
        let hashes = self.rest.clone().skip(1).take_while(|c| *c == '#').count();
        if self.nth(1 + hashes) != Some('"') {
            // A raw name.
            return self.keep();
        }
        self.skip(2 + hashes);
        while self.rest.peek().is_some() {
            let closes = self.rest.peek() == Some(&'"')
                && self.rest.clone().skip(1).take_while(|c| *c == '#').take(hashes).count() == hashes;
            self.skip(1);
            if closes {
                return self.skip(hashes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_words(text: &str) -> Vec<String> {
        words(&Code::of(text).code).map(str::to_owned).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        for (text, expected) in [
            ("a // b\nc /* d /* e */ f */ g", "a c g"),
            (r#"a "b \" c" d '\'' e '"' f"#, "a d e f"),
            (r##"a r"b\" c r#"d " e"# f br"g" h r#type"##, "a c f b h r type"),
            ("fn f<'a>(x: &'a str) -> char { 'x' }", "fn f a x a str char"),
            ("a \"b\n// c\n\" d", "a d"),
        ] {
            assert_eq!(code_words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "let a = \"ü // no\"; // yes\n\n    // b\n/* c\n// d */\n";
        let code = Code::of(text);
        assert_eq!(code.comments, [Some(19), None, Some(4), None, None, None]);
        let lengths = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        assert_eq!(lengths(&code.code), lengths(text));
    }

    #[test]
    fn what_only_tests_see_is_left_out() {
        let text = "use a;\n#[cfg(test)]\nuse b::{c, d};\n#[cfg(test)]\n#[path = \"x\"]\nmod e;\nfn f() {}\n\
                    #[cfg(test)]\nmod tests { fn g() { h(|| {}) } }\nfn i() {}\n";
        let rest = Code::of(text).without_tests();
        assert_eq!(words(&rest).collect::<Vec<_>>().join(" "), "use a fn f fn i");
        assert_eq!(rest.lines().count(), text.lines().count());
    }
}
