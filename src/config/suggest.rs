//! "Did you mean ...?"

/// How alike two words must be, from 0 to 1, to suggest one for the other. With 0.8, `covr` still finds `cover`, and
/// `train` does not find `time`.
const LIKENESS_MIN: f64 = 0.8;

/// The known word that is most like what was found, if any is.
pub(super) fn near<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let found = found.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&found, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// `"a", "b", "c"`, with the quotation mark of choice.
pub(super) fn quoted_list<'k>(quote: char, words: impl IntoIterator<Item = &'k str>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("{quote}{word}{quote}")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_a_stranger_does_not() {
        let known = ["cover", "contain", "stretch", "exact"];
        assert_eq!(near("covr", known), Some("cover"));
        assert_eq!(near("COVER", known), Some("cover"));
        assert_eq!(near("strech", known), Some("stretch"));
        assert_eq!(near("zoom", known), None);
        assert_eq!(near("", known), None);
        assert_eq!(near("train", ["source", "time"]), None);
    }

    #[test]
    fn lists() {
        assert_eq!(quoted_list('"', ["a", "b"]), r#""a", "b""#);
        assert_eq!(quoted_list('`', []), "");
    }
}
