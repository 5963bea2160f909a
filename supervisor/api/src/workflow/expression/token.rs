//! Words and signs of an expression.

use std::fmt;

use engine::workflow::print::is_of_name;
use types::workflow::{Comparison, Key};

use super::Wrong;

/// One word or sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// A word and what lies in it.
    Path(String, Vec<(usize, Key)>),
    /// As JSON writes it.
    Number(String),
    /// Without its quotes.
    Text(String),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `!`
    Not,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `==` and the like.
    Compare(Comparison),
    /// `}}`
    Braces,
    /// The text has ended.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(word, _) => write!(f, "“{}”", crate::document::fields::cut(word)),
            Self::Number(number) => write!(f, "“{}”", crate::document::fields::cut(number)),
            Self::Text(_) => f.write_str("a text"),
            Self::Open => f.write_str("“(”"),
            Self::Close => f.write_str("“)”"),
            Self::Not => f.write_str("“!”"),
            Self::And => f.write_str("“&&”"),
            Self::Or => f.write_str("“||”"),
            Self::Compare(comparison) => write!(f, "“{comparison}”"),
            Self::Braces => f.write_str("“}}”"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Signs from the longest, so that `<=` is not taken for `<`.
const SIGNS: &[(&str, Token)] = &[
    ("&&", Token::And),
    ("||", Token::Or),
    ("==", Token::Compare(Comparison::Equal)),
    ("!=", Token::Compare(Comparison::NotEqual)),
    ("<=", Token::Compare(Comparison::LessOrEqual)),
    (">=", Token::Compare(Comparison::GreaterOrEqual)),
    ("}}", Token::Braces),
    ("<", Token::Compare(Comparison::Less)),
    (">", Token::Compare(Comparison::Greater)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
];

/// What a text still has.
pub struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tokens<'t> {
    /// From the byte `at` on, which is no part of a character.
    pub const fn new(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    /// Where what is not taken yet begins.
    pub const fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes the beginning for which `wanted` holds.
    fn while_is(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Takes this sign, if it is the next.
    fn sign(&mut self, sign: &str) -> bool {
        let is_next = self.rest().starts_with(sign);
        if is_next {
            self.at += sign.len();
        }
        is_next
    }

    fn spaces(&mut self) {
        self.while_is(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }

    /// Takes the next one, and tells where it begins.
    pub fn next(&mut self) -> Result<(usize, Token), Wrong> {
        self.spaces();
        let start = self.at;
        let token = match self.peek() {
            None => Token::End,
            Some(quote @ ('\'' | '"')) => Token::Text(self.text(quote)?),
            Some('0'..='9' | '-') => Token::Number(self.number()?),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let word = self.while_is(is_of_name).to_owned();
                Token::Path(word, self.keys()?)
            }
            Some(c) => self.other(c)?,
        };
        Ok((start, token))
    }

    fn other(&mut self, c: char) -> Result<Token, Wrong> {
        if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| self.rest().starts_with(sign)) {
            self.at += sign.len();
            return Ok(token.clone());
        }
        let advice = match c {
            '&' => "write “&&”",
            '|' => "write “||”",
            '=' => "write “==”",
            '.' | '[' => "write it right behind the value that it looks into, without a space",
            '+' | '*' | '/' | '%' => "let a step compute it: there is no arithmetic here",
            _ => "put texts into quotes: 'text'",
        };
        Err(Wrong::new(self.at, format!("{c:?} is no part of an expression"), advice))
    }

    /// A text in quotes; its own quote is written twice in it.
    fn text(&mut self, quote: char) -> Result<String, Wrong> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            text.push_str(self.while_is(|c| c != quote));
            if self.peek().is_none() {
                let what = "the text that begins here does not end";
                return Err(Wrong::new(start, what, format!("close it with {quote}")));
            }
            self.at += 1;
            if self.peek() != Some(quote) {
                return Ok(text);
            }
            text.push(quote);
            self.at += 1;
        }
    }

    /// A number as JSON has it, and as it can be held.
    fn number(&mut self) -> Result<String, Wrong> {
        let start = self.at;
        let mut last = '-';
        while let Some(c) = self.peek() {
            let is_sign_of_exponent = matches!(c, '+' | '-') && matches!(last, 'e' | 'E');
            let is_part = c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || is_sign_of_exponent;
            if !is_part && self.at != start {
                break;
            }
            last = c;
            self.at += 1;
        }
        let number = self.text.get(start..self.at).unwrap_or_default();
        if is_number(number) {
            return Ok(number.to_owned());
        }
        let what = format!("“{}” is no number that JSON knows", crate::document::fields::cut(number));
        Err(Wrong::new(start, what, "write it in decimal, such as 12, -0.5 or 1e9, or quote it as a text"))
    }

    /// What lies in a value: `.name`, `[0]`, `["any text"]`.
    fn keys(&mut self) -> Result<Vec<(usize, Key)>, Wrong> {
        let mut keys = Vec::new();
        loop {
            let start = self.at;
            if self.sign(".") {
                let name = self.while_is(is_of_name);
                if name.is_empty() {
                    let advice = "write a name of letters, digits, _ and -, or any text as [\"…\"]";
                    return Err(Wrong::new(self.at, "no name stands behind the dot", advice));
                }
                keys.push((start, Key::Field(name.to_owned())));
            } else if self.sign("[") {
                keys.push((start, self.bracket(start)?));
            } else {
                return Ok(keys);
            }
        }
    }

    fn bracket(&mut self, start: usize) -> Result<Key, Wrong> {
        self.spaces();
        let key = match self.peek() {
            Some(quote @ ('\'' | '"')) => Key::Field(self.text(quote)?),
            _ => {
                let digits = self.while_is(|c| c.is_ascii_digit());
                let index = digits.parse().ok().filter(|index: &u32| index.to_string() == digits);
                let Some(index) = index.and_then(|index| usize::try_from(index).ok()) else {
                    let advice = "write a place from 0, as in [0], or a key in quotes, as in [\"key\"]";
                    return Err(Wrong::new(start, "no place in a list and no key stands here", advice));
                };
                Key::Index(index)
            }
        };
        self.spaces();
        if self.sign("]") {
            return Ok(key);
        }
        Err(Wrong::new(start, "the “[” here is not closed", "write “]” behind the place or the key"))
    }
}

/// A number as JSON writes it that does not pass what a double holds.
#[must_use]
pub fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, part) = match mantissa.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && part.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}
