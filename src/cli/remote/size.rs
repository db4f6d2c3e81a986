//! Sizes as people write them. Stricter than the crate `bytesize`, which also takes `8mib`, `8m` and `0`.

use std::num::NonZero;

/// Parses `512`, `64KiB`, `8MiB`, `1.5GiB`, or the decimal `kB`, `MB`, `GB`.
pub(super) fn size(text: &str) -> Result<NonZero<u64>, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let unit = UNITS.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1));
    let bytes =
        number.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor as f64);
    let bytes = bytes.filter(|bytes| (1.0..=1e18).contains(bytes)).and_then(|bytes| NonZero::new(bytes as u64));
    bytes.ok_or_else(|| "must be a size of at least one byte, such as 512KiB or 8MiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let table =
            [("512", 512), ("1B", 1), ("64KiB", 65536), ("8 MiB", 8 << 20), ("1.5GiB", 3 << 29), ("2MB", 2_000_000)];
        for (text, expected) in table {
            assert_eq!(size(text).map(NonZero::get), Ok(expected), "{text}");
        }
        for text in ["", "0", "0.4B", "-1", "eight", "8mib", "inf", "NaN", "1e30GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
