//! Text from disks, made safe to show.

/// For HTML text and quoted attributes. Control characters, and those that turn the direction of writing, are shown as
/// escapes: a name must not be able to look like another.
pub fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(character.escape_unicode());
            }
            _ if character.is_control() => safe.extend(character.escape_default()),
            _ => safe.push(character),
        }
    }
    safe
}

/// For the value of a label in Prometheus' text format.
pub fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(
            html("<script>alert('1')&\"\n\u{1b}[31m\u{202e}gpj.exe"),
            "&lt;script&gt;alert(&#39;1&#39;)&amp;&quot;\\n\\u{1b}[31m\\u{202e}gpj.exe"
        );
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
