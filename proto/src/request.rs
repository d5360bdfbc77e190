//! The id of a request, as it goes with it from the first program to the last.

/// Header that carries the id.
pub const REQUEST_ID: &str = "x-request-id";

/// Longest id that is kept, in characters.
pub const ID_LEN_MAX: usize = 64;

/// Returns what is kept of an id: ids come from callers, and end up in logs and in the audit.
pub fn clean_id(id: &str) -> String {
    id.chars().filter(char::is_ascii_graphic).take(ID_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_short_line() {
        assert_eq!(clean_id("a-1"), "a-1");
        assert_eq!(clean_id("a\r\nb\u{7f} c\u{202e}"), "abc");
        assert_eq!(clean_id(&"x".repeat(1000)).len(), ID_LEN_MAX);
    }
}
