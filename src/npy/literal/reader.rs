//! From text to values.

use super::{Literal, LiteralError, LiteralFault, Value, quote};

/// Brackets within brackets. A dtype of the deepest permitted nesting stays below it.
pub(super) const DEPTH_MAX: usize = 100;
/// Values in one literal. A structured dtype needs four to a field, so this is tens of thousands of fields.
pub(super) const VALUES_MAX: usize = 1 << 18;

/// Reads one literal, with nothing but white space and comments around it.
pub(in super::super) fn read(text: &str, python2_longs: bool) -> Result<Literal, LiteralError> {
    if let Some(offset) = text.find('\0') {
        return Err(LiteralError { offset, fault: LiteralFault::Nul });
    }
    let mut reader = Reader { text, at: 0, depth: 0, values: 0, python2_longs };
    reader.skip_space();
    // Python takes an indented first line for an unexpected block, except on the very first line, which NumPy strips.
    if let Some((_, line)) = text.get(..reader.at).and_then(|before| before.rsplit_once('\n'))
        && !line.is_empty()
    {
        return Err(reader.unexpected("no indentation"));
    }
    let literal = reader.value()?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(literal),
        Some(_) => Err(reader.unexpected("nothing more")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
    python2_longs: bool,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at = self.at.saturating_add(character.len_utf8());
        Some(character)
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.next();
        }
        there
    }

    /// Takes characters while they pass the test.
    fn take_while(&mut self, test: impl Fn(char) -> bool) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.find(|character| !test(character)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(length);
        rest.get(..length).unwrap_or_default()
    }

    fn fault(&self, offset: usize, fault: LiteralFault) -> LiteralError {
        LiteralError { offset, fault }
    }

    fn unexpected(&self, expected: &'static str) -> LiteralError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(character) => quote(&character.to_string()),
        };
        self.fault(self.at, LiteralFault::Unexpected { expected, found })
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(|character| matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c'));
            if self.peek() == Some('#') {
                self.take_while(|character| character != '\n');
            } else if self.rest().starts_with("\\\n") || self.rest().starts_with("\\\r\n") {
                self.take_while(|character| character != '\n');
            } else {
                return;
            }
        }
    }

    fn value(&mut self) -> Result<Literal, LiteralError> {
        let start = self.at;
        self.values = self.values.saturating_add(1);
        if self.values > VALUES_MAX {
            return Err(self.fault(start, LiteralFault::TooMany));
        }
        let value = match self.peek() {
            Some('(') => self.nested(Self::tuple)?,
            Some('[') => self.nested(Self::list)?,
            Some('{') => self.nested(Self::dictionary)?,
            Some('\'' | '"') => self.strings("")?,
            Some('0'..='9' | '+' | '-') => self.number()?,
            Some(character) if character.is_ascii_alphabetic() => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Literal { value, start, end: self.at })
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Value, LiteralError>) -> Result<Value, LiteralError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.fault(self.at, LiteralFault::TooDeep));
        }
        self.depth = self.depth.saturating_add(1);
        self.next();
        let value = read(self);
        self.depth = self.depth.saturating_sub(1);
        value
    }

    /// The items up to the closing bracket, and whether a comma stood among them.
    fn items(&mut self, close: char, expected: &'static str) -> Result<(Vec<Literal>, bool), LiteralError> {
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            self.skip_space();
            if self.take(close) {
                return Ok((items, comma));
            }
            items.push(self.value()?);
            self.skip_space();
            if self.take(close) {
                return Ok((items, comma));
            }
            if !self.take(',') {
                return Err(self.unexpected(expected));
            }
            comma = true;
        }
    }

    fn list(&mut self) -> Result<Value, LiteralError> {
        Ok(Value::List(self.items(']', "',' or ']'")?.0))
    }

    fn tuple(&mut self) -> Result<Value, LiteralError> {
        let (mut items, comma) = self.items(')', "',' or ')'")?;
        // `(3)` is the number, `(3,)` the tuple.
        match items.pop() {
            Some(only) if items.is_empty() && !comma => Ok(only.value),
            Some(last) => {
                items.push(last);
                Ok(Value::Tuple(items))
            }
            None => Ok(Value::Tuple(items)),
        }
    }

    fn dictionary(&mut self) -> Result<Value, LiteralError> {
        let mut entries = Vec::new();
        loop {
            self.skip_space();
            if self.take('}') {
                return Ok(Value::Dict(entries));
            }
            let key = self.value()?;
            self.skip_space();
            if !self.take(':') {
                return Err(self.unexpected("':'"));
            }
            self.skip_space();
            entries.push((key, self.value()?));
            self.skip_space();
            if self.take('}') {
                return Ok(Value::Dict(entries));
            }
            if !self.take(',') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn word(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        let word = self.take_while(|character| character.is_alphanumeric() || character == '_').to_owned();
        if matches!(self.peek(), Some('\'' | '"')) {
            return self.strings(&word);
        }
        match word.as_str() {
            "True" => Ok(Value::Bool(true)),
            "False" => Ok(Value::Bool(false)),
            "None" => Ok(Value::None),
            _ => {
                let found = quote(&word.chars().take(40).collect::<String>());
                let expected = "a string, a number, True, False, None or a bracket";
                Err(self.fault(start, LiteralFault::Unexpected { expected, found }))
            }
        }
    }

    fn number(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        let negative = self.peek() == Some('-');
        if self.take('-') || self.take('+') {
            self.skip_space();
            if !self.peek().is_some_and(|character| character.is_ascii_digit()) {
                return Err(self.unexpected("a number"));
            }
        }
        let digits =
            self.take_while(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '.')).to_owned();
        let plain = match digits.strip_suffix('L') {
            Some(shorter) if self.python2_longs => shorter,
            _ => &digits,
        };
        match integer(plain) {
            Some(magnitude) => Ok(Value::Int(if negative { magnitude.saturating_neg() } else { magnitude })),
            None => Err(self.fault(start, LiteralFault::Number(digits.chars().take(60).collect()))),
        }
    }

    /// One string, and those that follow it without a comma: Python joins them.
    fn strings(&mut self, prefix: &str) -> Result<Value, LiteralError> {
        let mut text = String::new();
        let mut prefix = prefix.to_owned();
        loop {
            let (raw, bytes) = match prefix.to_ascii_lowercase().as_str() {
                "" | "u" => (false, false),
                "r" => (true, false),
                "b" => (false, true),
                "br" | "rb" => (true, true),
                _ => return Err(self.unexpected("a string prefix of u, r or b")),
            };
            self.string(raw, &mut text)?;
            if bytes {
                return Ok(Value::Bytes);
            }
            let end = self.at;
            self.skip_space();
            prefix = self.take_while(|character| character.is_ascii_alphabetic()).to_owned();
            if !matches!(self.peek(), Some('\'' | '"')) {
                self.at = end;
                return Ok(Value::Str(text));
            }
        }
    }

    fn string(&mut self, raw: bool, text: &mut String) -> Result<(), LiteralError> {
        let start = self.at;
        let mark = self.next().unwrap_or('\'');
        let triple: String = [mark; 3].iter().collect();
        let tripled = self.text.get(start..).unwrap_or_default().starts_with(&triple);
        if tripled {
            self.next();
            self.next();
        }
        loop {
            if tripled && self.rest().starts_with(&triple) {
                self.at = self.at.saturating_add(3);
                return Ok(());
            }
            match self.next() {
                Some(character) if character == mark && !tripled => return Ok(()),
                Some('\n' | '\r') if !tripled => return Err(self.fault(start, LiteralFault::Unclosed)),
                None => return Err(self.fault(start, LiteralFault::Unclosed)),
                // Python reads every line end as \n.
                Some('\r') => {
                    self.take('\n');
                    text.push('\n');
                }
                Some('\\') if raw => {
                    text.push('\\');
                    text.extend(self.next());
                }
                Some('\\') => self.escape(text)?,
                Some(character) => text.push(character),
            }
        }
    }

    /// The escapes of Python's strings, except `\N{...}`. An unknown one stands for itself.
    fn escape(&mut self, text: &mut String) -> Result<(), LiteralError> {
        let start = self.at.saturating_sub(1);
        let code = match self.next() {
            Some('\n') => return Ok(()),
            Some('\r') => {
                self.take('\n');
                return Ok(());
            }
            Some('a') => Some('\x07'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\x0b'),
            Some(same @ ('\\' | '\'' | '"')) => Some(same),
            Some('x') => self.code_point(2),
            Some('u') => self.code_point(4),
            Some('U') => self.code_point(8),
            Some(digit @ '0'..='7') => {
                let mut code = digit.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    if let Some(more) = self.peek().and_then(|character| character.to_digit(8)) {
                        code = code.saturating_mul(8).saturating_add(more);
                        self.next();
                    }
                }
                char::from_u32(code)
            }
            Some('N') | None => None,
            Some(other) => {
                text.push('\\');
                Some(other)
            }
        };
        match code {
            Some(character) => {
                text.push(character);
                Ok(())
            }
            // Also half of a surrogate pair, which Python can hold and UTF-8 cannot.
            None => {
                let escape = self.text.get(start..self.at).unwrap_or_default().to_owned();
                Err(self.fault(start, LiteralFault::Escape(escape)))
            }
        }
    }

    fn code_point(&mut self, digits: u32) -> Option<char> {
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.peek()?.to_digit(16)?;
            self.next();
            code = code.checked_mul(16)?.checked_add(digit)?;
        }
        char::from_u32(code)
    }
}

/// A whole number as Python writes one: decimal without leading zeros, hexadecimal, octal or binary, with single
/// underscores between digits. `None` also when it is larger than 128 bits hold.
fn integer(text: &str) -> Option<i128> {
    let (digits, radix, prefixed) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (text.get(2..)?, 16, true),
        Some("0o") => (text.get(2..)?, 8, true),
        Some("0b") => (text.get(2..)?, 2, true),
        _ => (text, 10, false),
    };
    let mut number = 0_i128;
    let mut after_digit = prefixed;
    for character in digits.chars() {
        if character == '_' {
            if !after_digit {
                return None;
            }
            after_digit = false;
            continue;
        }
        let digit = character.to_digit(radix)?;
        number = number.checked_mul(i128::from(radix))?.checked_add(i128::from(digit))?;
        after_digit = true;
    }
    let leading_zero = !prefixed && digits.starts_with('0') && number != 0;
    (after_digit && !digits.is_empty() && !leading_zero).then_some(number)
}
