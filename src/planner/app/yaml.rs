//! Reads a spicepod as YAML 1.2 with the core schema, which includes JSON, into a JSON value.
//!
//! An error has its position and no part of the text. A value that JSON or the core schema cannot represent is an error,
//! so that no value changes silently. One difference from the core schema: an integer with leading zeros is a text.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

/// A value, and its measures for the limits.
#[derive(Clone)]
struct Node {
    value: Value,
    /// Lower bound of the length as JSON.
    bytes: usize,
    /// Number of levels: 0 for a scalar.
    levels: usize,
}

impl Node {
    fn scalar(value: Value, text: &str) -> Self {
        Self { value, bytes: text.len().max(1), levels: 0 }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Values with an anchor, by number of the anchor.
    anchors: BTreeMap<usize, Node>,
    max_bytes: usize,
    max_levels: usize,
    /// Lower bound of the length of all values so far, aliases included. Bounds the memory of repeated aliases.
    bytes: usize,
}

/// Reads the only document of a text. None if the text has no document.
///
/// # Errors
/// If the text is not valid, or has more than `max_bytes` as JSON or more than `max_levels` levels.
pub(super) fn parse(text: &str, max_bytes: usize, max_levels: usize) -> Result<Option<Value>, String> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { events, anchors: BTreeMap::new(), max_bytes, max_levels, bytes: 0 };
    let mut document = None;
    while let Some(event) = reader.events.next_event() {
        match event.map_err(|error| syntax_problem(&error))? {
            (Event::StreamStart | Event::StreamEnd | Event::DocumentEnd, _) => {}
            (Event::DocumentStart(..), span) if document.is_some() => return Err(at("more than one document", span)),
            (Event::DocumentStart(..), _) => {
                let (event, span) = reader.next()?;
                document = Some(reader.node(event, span, 0)?.value);
            }
            (_, span) => return Err(at("invalid YAML", span)),
        }
    }
    Ok(document)
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        match self.events.next_event() {
            Some(event) => event.map_err(|error| syntax_problem(&error)),
            None => Err("invalid YAML: unexpected end".to_owned()),
        }
    }

    /// Reads the value that starts with `event`, below `level` levels.
    fn node(&mut self, event: Event<'a>, span: Span, level: usize) -> Result<Node, String> {
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|problem| at(problem, span))?;
                (anchor, Node::scalar(value, &text))
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_collection(tag.as_deref(), "seq", level, self.max_levels).map_err(|why| at(&why, span))?;
                (anchor, self.sequence(level)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_collection(tag.as_deref(), "map", level, self.max_levels).map_err(|why| at(&why, span))?;
                (anchor, self.mapping(level)?)
            }
            Event::Alias(anchor) => (0, self.alias(anchor, level).map_err(|problem| at(&problem, span))?),
            _ => return Err(at("invalid YAML", span)),
        };
        if node.levels == 0 {
            self.bytes = self.bytes.saturating_add(node.bytes);
        }
        if self.bytes > self.max_bytes {
            return Err(at(&format!("too large; the maximum is {} bytes as JSON", self.max_bytes), span));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, level: usize) -> Result<Node, String> {
        let node = self.anchors.get(&anchor).ok_or("alias of a value that contains the alias")?;
        if level + node.levels > self.max_levels {
            return Err(too_deep(self.max_levels));
        }
        // The copy is made only if the limit allows the copy.
        self.bytes = self.bytes.saturating_add(if node.levels > 0 { node.bytes } else { 0 });
        if self.bytes > self.max_bytes {
            return Err(format!("too large; the maximum is {} bytes as JSON", self.max_bytes));
        }
        Ok(node.clone())
    }

    fn sequence(&mut self, level: usize) -> Result<Node, String> {
        let (mut items, mut bytes, mut levels) = (Vec::new(), 2, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                self.bytes = self.bytes.saturating_add(2);
                return Ok(Node { value: Value::Array(items), bytes, levels: levels + 1 });
            }
            let item = self.node(event, span, level + 1)?;
            (bytes, levels) = (bytes + item.bytes, levels.max(item.levels));
            items.push(item.value);
        }
    }

    fn mapping(&mut self, level: usize) -> Result<Node, String> {
        let (mut fields, mut bytes, mut levels) = (Map::new(), 2, 0);
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                self.bytes = self.bytes.saturating_add(2);
                return Ok(Node { value: Value::Object(fields), bytes, levels: levels + 1 });
            }
            let key = key(event).map_err(|problem| at(problem, key_span))?;
            if fields.contains_key(&key) {
                return Err(at("duplicate key", key_span));
            }
            self.bytes = self.bytes.saturating_add(key.len());
            let (event, span) = self.next()?;
            let item = self.node(event, span, level + 1)?;
            (bytes, levels) = (bytes + key.len() + item.bytes, levels.max(item.levels));
            fields.insert(key, item.value);
        }
    }
}

/// The key of a mapping. A number or a boolean counts as its text, as in JSON.
fn key(event: Event<'_>) -> Result<String, &'static str> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
            Err("merge key, which YAML 1.2 does not have; repeat the fields")
        }
        Event::Scalar(text, style, _, tag) if scalar(&text, style, tag.as_deref())? != Value::Null => {
            Ok(text.into_owned())
        }
        _ => Err("key that is not a string"),
    }
}

fn check_collection(tag: Option<&Tag>, expected: &str, level: usize, max_levels: usize) -> Result<(), String> {
    if level >= max_levels {
        return Err(too_deep(max_levels));
    }
    match tag.map(Tag::core_suffix) {
        None => Ok(()),
        Some(Some(suffix)) if suffix == expected => Ok(()),
        Some(_) => Err("unsupported tag".to_owned()),
    }
}

/// The value of a scalar by the core schema.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, &'static str> {
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain { plain(text) } else { Ok(Value::from(text)) };
    };
    let wrong = "value that does not match its tag";
    match tag.core_suffix() {
        Some("str") => Ok(Value::from(text)),
        None if tag.original() == "!" => Ok(Value::from(text)),
        Some("null") => Some(plain(text)?).filter(Value::is_null).ok_or(wrong),
        Some("bool") => Some(plain(text)?).filter(Value::is_boolean).ok_or(wrong),
        Some("int") => Some(plain(text)?).filter(|value| value.is_i64() || value.is_u64()).ok_or(wrong),
        Some("float") => plain(text)?.as_f64().map(Value::from).ok_or(wrong),
        _ => Err("unsupported tag"),
    }
}

/// The value of a scalar without quotes and without a tag.
fn plain(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let is_all =
        |digits: &str, allowed: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|byte| allowed(&byte));
    let radix = |prefix, radix: u32, allowed| {
        let digits = text.strip_prefix(prefix).filter(|digits| is_all(digits, allowed))?;
        Some(u64::from_str_radix(digits, radix).map(Value::from).map_err(|_| TOO_LARGE))
    };
    if let Some(number) = radix("0o", 8, |byte| (b'0'..=b'7').contains(byte)) {
        return number;
    }
    if let Some(number) = radix("0x", 16, u8::is_ascii_hexdigit) {
        return number;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if is_all(unsigned, u8::is_ascii_digit) {
        return if unsigned.len() > 1 && unsigned.starts_with('0') { Ok(Value::from(text)) } else { integer(text) };
    }
    let is_special = [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text);
    if is_special {
        return Err(INFINITE);
    }
    if !is_float(unsigned) {
        return Ok(Value::from(text));
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or(INFINITE)
}

const TOO_LARGE: &str = "integer with more than 64 bits; write the value as a text in quotes";
const INFINITE: &str = "number that JSON cannot represent; write the value as a text in quotes";

fn integer(text: &str) -> Result<Value, &'static str> {
    let unsigned = || u64::from_str(text).map(Value::from);
    i64::from_str(text).map(Value::from).or_else(|_| unsigned()).map_err(|_| TOO_LARGE)
}

/// Returns true for `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(text: &str) -> bool {
    let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digit = !whole.is_empty() || !fraction.is_empty();
    has_digit
        && is_digits(whole)
        && is_digits(fraction)
        && exponent.is_none_or(|digits| !digits.is_empty() && is_digits(digits))
}

fn too_deep(max_levels: usize) -> String {
    format!("nested too deeply; the maximum is {max_levels} levels")
}

fn syntax_problem(error: &ScanError) -> String {
    with_position("invalid YAML", error.marker())
}

fn at(problem: &str, span: Span) -> String {
    with_position(problem, &span.start)
}

fn with_position(problem: &str, place: &Marker) -> String {
    format!("{problem}: line {}, column {}", place.line(), place.col() + 1)
}
