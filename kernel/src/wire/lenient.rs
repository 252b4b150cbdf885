//! Repairs the two liberties Python's `json` takes with JSON: bare `NaN` / `Infinity`, and lone surrogates in strings.

/// `bytes` with non-finite numbers outside strings as `null`, and lone `\uD8xx` escapes and bytes that are not UTF-8 as
/// U+FFFD. Valid JSON comes back as it was.
pub fn repair(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    let mut in_string = false;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        if in_string {
            if first == '\\' {
                taken = escape(rest, &mut out);
            } else {
                in_string = first != '"';
                out.push(first);
            }
        } else if let Some(word) = ["-Infinity", "Infinity", "NaN"].iter().find(|w| rest.starts_with(**w)) {
            out.push_str("null");
            taken = word.len();
        } else {
            in_string = first == '"';
            out.push(first);
        }
        rest = &rest[taken..];
    }
    out
}

/// Copies the escape at the start of `rest`; returns how long it was.
fn escape(rest: &str, out: &mut String) -> usize {
    let unit = |at: usize| {
        let hex = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let taken = match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
        (Some(0xd800..=0xdfff), _) => {
            out.push('\u{fffd}');
            return 6;
        }
        (Some(_), _) => 6,
        (None, _) => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
    };
    out.push_str(&rest[..taken]);
    taken
}

#[cfg(test)]
mod tests {
    use super::repair;

    #[test]
    fn only_what_is_broken_changes() {
        let cases = [
            (r#"{"a":[1,2],"b":"NaN \" \\"}"#, r#"{"a":[1,2],"b":"NaN \" \\"}"#),
            (
                r#"[NaN,-Infinity,Infinity,"Infinity"]"#,
                r#"[null,null,null,"Infinity"]"#,
            ),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\u0041""#, "\"\u{fffd}\\u0041\""),
            (r#""\ude00""#, "\"\u{fffd}\""),
            (r#""\"#, r#""\"#),
        ];
        for (given, expected) in cases {
            assert_eq!(repair(given.as_bytes()), expected);
        }
        assert_eq!(repair(b"\"\xff\""), "\"\u{fffd}\"");
    }
}
