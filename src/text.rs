//! Characters that a reader does not see, and that files begin with.

/// Whether a character changes the direction of the text around it, ends a line, or takes no place: with it a name is
/// displayed as another one. Control characters belong to it. Joiners do not: some scripts and emoji need them.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// A text without the byte order mark that some editors write at its beginning.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
